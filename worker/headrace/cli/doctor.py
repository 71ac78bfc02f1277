"""`headrace doctor`: what is here, what is wrong, how to mend it."""

from typing import TYPE_CHECKING

import typer

from headrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.monitoring.checks import Check

_BROKEN = 1


def doctor() -> None:
    """Tell what is here and how to mend what is wrong.

    Exits 1 if something that is needed is broken.
    """
    from headrace.cli.output import print_table
    from headrace.monitoring.checks import Verdict

    checks = list(_checks())
    print_table(("what", "state", "found"), [(each.name, each.verdict, each.found) for each in checks])
    for each in checks:
        if each.mend:
            typer.echo(f"{each.verdict}: {each.name}: {each.mend}")
    wrong = [each.name for each in checks if each.verdict is Verdict.BROKEN]
    typer.echo(f"to be mended: {', '.join(wrong)}" if wrong else "headrace can be used")
    if wrong:
        raise typer.Exit(_BROKEN)


def _checks() -> "Iterator[Check]":
    from headrace.monitoring.checks import broken
    from headrace.monitoring.doctor import examine
    from headrace.settings import get_settings

    try:
        settings = get_settings()
    except ConfigError as error:
        yield broken("settings", "cannot be read", str(error))
        return
    yield from examine(settings)
