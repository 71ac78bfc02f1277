"""The root command, and its verbs."""

from typing import Annotated

import typer

from headrace import __version__
from headrace.cli.dead import dead
from headrace.cli.doctor import doctor
from headrace.cli.failures import ReportingGroup
from headrace.cli.flower import flower
from headrace.cli.health import health
from headrace.cli.models import models
from headrace.cli.plan import plan
from headrace.cli.result import result
from headrace.cli.run import run
from headrace.cli.submit import submit
from headrace.cli.up import up
from headrace.cli.worker import worker

app = typer.Typer(
    cls=ReportingGroup,
    add_completion=False,
    no_args_is_help=True,
    # Performance: markup would import rich.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error was raised.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Batch inference behind a message queue.

    Exit codes: 0 done, 1 some items failed, 2 usage, bad input or an output that cannot be written,
    3 no broker, 70 a fault in headrace, 130 Ctrl-C.
    """
    context.obj = {"traceback": traceback}


for verb in (run, up, worker, submit, result, plan, flower, doctor, health):
    app.command()(verb)
app.add_typer(models, name="models")
app.add_typer(dead, name="dead")
