"""`headrace dead`: messages that were put aside."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.errors import ConfigError, InvalidInput

if TYPE_CHECKING:
    from headrace.broker.dead import DeadLetter, DeadLetters

#: Characters of a reason in the table; `show` has all of them.
_MOST_SHOWN = 100

dead = typer.Typer(no_args_is_help=True, help="Messages that are no jobs, or whose jobs killed too many workers.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A job's id, or what `list` shows where there is none.")]
OfModel = Annotated[str | None, typer.Option("--model", "-m", help="Only those of this model.")]


@dead.command("list")
def list_letters(*, model: OfModel = None) -> None:
    """Show which there are, and why."""
    from headrace.cli.output import print_table

    with _letters() as letters:
        rows = [
            (letter.model, letter.name, letter.reason[:_MOST_SHOWN])
            for name in ([model] if model else letters.models())
            for letter in letters.of(name)
        ]
    print_table(("model", "name", "why"), rows)


@dead.command()
def show(name: Name) -> None:
    """Print one as JSON: headers, body, reason."""
    from headrace.broker.dead import read
    from headrace.cli.output import print_json

    with _letters() as letters:
        letter = _find(letters, name)
        print_json({"model": letter.model, "reason": letter.reason, "message": read(letter.payload)})


@dead.command()
def retry(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="As `list` shows it.")] = None,
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", help="All of this model instead of one.")] = None,
) -> None:
    """Queue one again, or all of a model: its failure is deleted, its attempts begin anew."""
    if (name is None) == (model is None):
        raise ConfigError("name one, or --model for all of a model")
    with _letters() as letters:
        wanted = [_find(letters, name)] if name else [each for each in letters.of(str(model)) if each.job_id]
        queued = sum(letters.retry(letter) for letter in wanted)
    typer.echo(f"{queued} queued again")


@dead.command()
def purge(model: Annotated[str, typer.Option("--model", "-m", help="Model whose dead letters are deleted.")]) -> None:
    """Delete all of a model; their failures stay for who asks for them."""
    with _letters() as letters:
        typer.echo(f"{letters.purge(model)} deleted")


def _find(letters: "DeadLetters", name: str) -> "DeadLetter":
    letter = letters.find(name)
    if letter is None:
        raise InvalidInput(f"there is no dead letter {name}: `headrace dead list` shows those there are")
    return letter


@contextmanager
def _letters() -> Iterator["DeadLetters"]:
    from headrace.broker.access import running_broker
    from headrace.broker.dead import DeadLetters
    from headrace.cli.session import broker_of
    from headrace.settings import get_settings

    settings = get_settings()
    with broker_of(running_broker(settings), settings) as client:
        yield DeadLetters(client)
