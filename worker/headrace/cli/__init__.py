"""The command line: `headrace VERB`, one file per verb.

Performance: `headrace --help` must not import Celery, Redis, pydantic, rich or a device's
library, so the verbs import them inside their functions.
"""

from headrace.cli.app import app


def main() -> None:
    """Run the command that the process's arguments name."""
    app(prog_name="headrace")


__all__ = ["app", "main"]
