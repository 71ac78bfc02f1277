"""`headrace dead`: messages that were put aside."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.failures import SOME_FAILED
from headrace.errors import ConfigError, InvalidInput

if TYPE_CHECKING:
    from headrace.broker.dead import DeadLetter, DeadLetters

#: Characters of a reason on a terminal; `show` has all of them, and so has a pipe.
_MOST_SHOWN = 100

dead = typer.Typer(no_args_is_help=True, help="Messages that are no jobs, or whose jobs killed too many workers.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A job's id, or what `list` shows where there is none.")]
OfModel = Annotated[str | None, typer.Option("--model", "-m", help="Only those of this model.")]


@dead.command("list")
def list_letters(*, model: OfModel = None) -> None:
    """Show which there are, since when, and why."""
    from headrace.cli.output import print_table

    with _letters(model) as letters:
        names = [model] if model else letters.models()
        rows = [_row(letter) for name in names for letter in letters.of(name)]
    print_table(("model", "name", "since", "why"), rows)


def _row(letter: "DeadLetter") -> tuple[str, ...]:
    # One line each, for programs that read them.
    why = " ".join(letter.reason.split())
    if sys.stdout.isatty() and len(why) > _MOST_SHOWN:
        why = why[: _MOST_SHOWN - 1] + "…"
    since = "-" if letter.since is None else datetime.fromtimestamp(letter.since).astimezone().isoformat()
    return letter.model, letter.name, since, why


@dead.command()
def show(name: Name) -> None:
    """Print one as JSON: headers, body, reason."""
    from headrace.broker.dead import read
    from headrace.cli.output import print_json

    with _letters() as letters:
        letter = _find(letters, name)
        about = {"model": letter.model, "since": letter.since, "reason": letter.reason}
        print_json({**about, "message": read(letter.payload)})


@dead.command()
def retry(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="As `list` shows it.")] = None,
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", help="All of this model instead of one.")] = None,
) -> None:
    """Queue one again, or all of a model: its failure is deleted, its attempts begin anew.

    Exits 1 if some of a model are left, since no job's id can be read in them.
    """
    from headrace.cli.output import note

    if (name is None) == (model is None):
        raise ConfigError("name one, or --model for all of a model")
    with _letters(model) as letters:
        found = [_find(letters, name)] if name else list(letters.of(str(model)))
        wanted = [letter for letter in found if name or letter.job_id]
        queued = sum(letters.retry(letter) for letter in wanted)
    typer.echo(f"{queued} queued again")
    if left := len(found) - len(wanted):
        note(
            f"{left} left: no job's id can be read in them, so they would come back here: `headrace dead show NAME`"
            " tells what they are, `headrace dead purge` deletes them"
        )
        raise typer.Exit(SOME_FAILED)


@dead.command()
def purge(model: Annotated[str, typer.Option("--model", "-m", help="Model whose dead letters are deleted.")]) -> None:
    """Delete all of a model; their failures stay for who asks for them."""
    with _letters(model) as letters:
        typer.echo(f"{letters.purge(model)} deleted")


def _find(letters: "DeadLetters", name: str) -> "DeadLetter":
    letter = letters.find(name)
    if letter is None:
        raise InvalidInput(f"there is no dead letter {name}: `headrace dead list` shows those there are")
    return letter


@contextmanager
def _letters(model: str | None = None) -> Iterator["DeadLetters"]:
    """The dead letters of the broker; refuses a model that is unknown and has none, and tells of one that has none."""
    from headrace.broker.access import running_broker
    from headrace.broker.dead import DeadLetters
    from headrace.cli.output import note
    from headrace.cli.session import broker_of, known_models
    from headrace.settings import get_settings

    settings = get_settings()
    with broker_of(running_broker(settings), settings) as client:
        letters = DeadLetters(client)
        if model is not None and not letters.has(model):
            known_models(client, settings).get(model)
            note(f"{model} has no dead letters")
        yield letters
