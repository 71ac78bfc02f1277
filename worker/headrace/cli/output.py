"""What commands print: JSON for programs, tables for people."""

import sys
from collections.abc import Sequence
from typing import Any

import typer


def print_json(value: Any) -> None:
    """Print a job's output as one line of JSON."""
    import orjson

    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    typer.echo(orjson.dumps(value, default=_plain, option=options))


def _plain(value: Any) -> Any:
    """What orjson does not take: numpy's scalars of no dimension and strided arrays have `tolist`."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return repr(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on a terminal, else lines with tabs between the fields."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        # Text, since a name in square brackets would be read as markup.
        table.add_row(*(Text(field) for field in row))
    Console().print(table)


def note(message: str) -> None:
    """Tell the person at the terminal; programs read stdout only."""
    typer.echo(f"headrace: {message}", err=True)
