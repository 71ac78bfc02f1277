"""The command line: `headrace VERB`, one file per verb.

Performance: `headrace --help` must not import Celery, Redis, pydantic, rich or a device's
library, so the verbs import them inside their functions.
"""

import sys

#: The shell's 128 + SIGINT.
_INTERRUPTED = 130


def main() -> None:
    """Run the command that the process's arguments name."""
    try:
        from headrace.cli.app import app

        app(prog_name="headrace")
    except KeyboardInterrupt:
        # Before the verb began, or after it ended: there is nothing to say.
        sys.exit(_INTERRUPTED)
