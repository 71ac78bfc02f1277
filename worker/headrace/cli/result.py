"""`headrace result`: what became of a job."""

from typing import Annotated

import typer


def result(
    *,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="What `headrace submit` printed.")],
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for it.")] = 10.0,
) -> None:
    """Print a job's result as JSON, or its error."""
    from headrace.cli.output import note, print_json
    from headrace.client import Client
    from headrace.pending import is_of_ours
    from headrace.settings import get_settings

    with Client(settings=get_settings()) as client:
        pending = client.pending(job_id)
        if not is_of_ours(job_id):
            note(f"{job_id} is no id that `headrace submit` prints: waiting {timeout:g} s for a Celery producer's")
        print_json(pending.result(timeout))
