"""`headrace dead`: messages that were put aside."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.errors import ConfigError, InvalidInput

if TYPE_CHECKING:
    from headrace.broker.dead import DeadLetter, DeadLetters

#: Characters of a reason in the table; `show` has all of them.
_MOST_SHOWN = 100

dead = typer.Typer(no_args_is_help=True, help="Messages that are no jobs, or whose jobs killed too many workers.")

JobId = Annotated[str, typer.Argument(metavar="JOB_ID")]
OfModel = Annotated[str | None, typer.Option("--model", "-m", help="Only those of this model.")]


@dead.command("list")
def list_letters(*, model: OfModel = None) -> None:
    """Show which there are, and why."""
    from headrace.cli.output import print_table

    with _letters() as letters:
        rows = [
            (letter.model, letter.job_id or "-", letter.reason[:_MOST_SHOWN] or "no job can be read from it")
            for name in ([model] if model else letters.models())
            for letter in letters.of(name)
        ]
    print_table(("model", "job", "why"), rows)


@dead.command()
def show(job_id: JobId) -> None:
    """Print one as JSON: headers, body, reason."""
    from headrace.broker.dead import read
    from headrace.cli.output import print_json

    with _letters() as letters:
        letter = _find(letters, job_id)
        print_json({"model": letter.model, "reason": letter.reason, "message": read(letter.payload)})


@dead.command()
def retry(
    job_id: Annotated[str | None, typer.Argument(metavar="JOB_ID")] = None,
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", help="All of this model instead of one.")] = None,
) -> None:
    """Queue one again, or all of a model: its failure is deleted, its attempts begin anew."""
    if (job_id is None) == (model is None):
        raise ConfigError("name one: a JOB_ID, or --model for all of a model")
    with _letters() as letters:
        wanted = [_find(letters, job_id)] if job_id else [each for each in letters.of(str(model)) if each.job_id]
        queued = sum(letters.retry(letter) for letter in wanted)
    typer.echo(f"{queued} queued again")


@dead.command()
def purge(model: Annotated[str, typer.Option("--model", "-m", help="Model whose dead letters are deleted.")]) -> None:
    """Delete all of a model; their failures stay for who asks for them."""
    with _letters() as letters:
        typer.echo(f"{letters.purge(model)} deleted")


def _find(letters: "DeadLetters", job_id: str) -> "DeadLetter":
    letter = letters.find(job_id)
    if letter is None:
        raise InvalidInput(f"there is no dead letter of job {job_id}: `headrace dead list` shows those there are")
    return letter


@contextmanager
def _letters() -> Iterator["DeadLetters"]:
    from headrace.broker.access import running_broker
    from headrace.broker.connection import broker_errors, connect
    from headrace.broker.dead import DeadLetters
    from headrace.settings import get_settings

    settings = get_settings()
    url = running_broker(settings)
    with broker_errors(url), closing(connect(url, settings)) as client:
        yield DeadLetters(client)
