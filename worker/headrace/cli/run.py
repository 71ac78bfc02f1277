"""`headrace run`: a file through a model."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from headrace.cli.arguments import Devices, Model, Params, parse_params
from headrace.cli.failures import SOME_FAILED
from headrace.cli.output import note
from headrace.cli.progress import count_lines, shown_progress
from headrace.cli.signals import interrupting_signals
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.bulk.run import Summary

#: Characters of an error's message; its row has all of them.
_MOST_SHOWN = 300
_STOPPING = "interrupted: cancelling what is queued, and ending what this run has started; Ctrl-C again hurries"


def run(  # noqa: PLR0913 - its options
    *,
    source: Annotated[Path, typer.Option("--input", "-i", help="JSON Lines; - for standard input.")],
    target: Annotated[Path, typer.Option("--output", "-o", help="Where the rows go; - for standard output.")],
    model: Model,
    field: Annotated[str | None, typer.Option("--field", help="Field of a line that is the input.")] = None,
    param: Params = None,
    chunk_size: Annotated[
        int | None,
        typer.Option("--chunk-size", min=1, max=10_000, help="Inputs per job; by default about a second's work."),
    ] = None,
    devices: Devices = "auto",
) -> None:
    """Send every line of a file through a model; starts what is missing."""
    from headrace.bulk.options import RunOptions
    from headrace.bulk.run import run as run_bulk
    from headrace.launcher import parse_devices
    from headrace.settings import get_settings

    options = RunOptions(model=model, field=field, params=parse_params(param), chunk_size=chunk_size, devices=devices)
    parse_devices(devices)
    if not _is_dash(source) and source.exists() and target.exists() and source.samefile(target):
        raise ConfigError(f"input and output are the same file, {target}: the rows would replace their texts")
    settings = get_settings()
    with (
        interrupting_signals(_STOPPING) as interruption,
        _reader(source) as rows,
        _writer(target) as sink,
        shown_progress(count_lines(rows)) as progress,
    ):

        def on_progress(so_far: "Summary") -> None:
            interruption.check()
            progress(so_far)

        summary = run_bulk(options, rows, sink, settings=settings, progress=on_progress, note=note)
    typer.echo(summary_text(summary), err=_is_dash(target))
    for code, (count, first) in summary.errors.items():
        note(f"{count} x {code}, first: {first[:_MOST_SHOWN]}")
    if summary.failures:
        raise typer.Exit(SOME_FAILED)


def summary_text(summary: "Summary") -> str:
    """What a run did, one value a line."""
    lines = {
        "items": f"{summary.items}",
        "failures": f"{summary.failures}",
        "seconds": f"{summary.seconds:.1f}",
        "items/s": f"{summary.items_per_second:.1f}",
        "batches": f"{round(summary.batches)}",
        "mean batch size": f"{summary.mean_batch_size:.1f}",
    }
    return "\n".join(f"{name:<17}{value:>10}" for name, value in lines.items())


def _is_dash(path: Path) -> bool:
    return str(path) == "-"


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[BinaryIO]:
    if _is_dash(path):
        yield sys.stdin.buffer
        return
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read the input {path}: {error.strerror}") from None
    with stream:
        yield stream


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[BinaryIO]:
    from headrace.bulk.output import OutputFile

    with _stdout() if _is_dash(path) else OutputFile(path) as stream:
        yield stream


@contextlib.contextmanager
def _stdout() -> Iterator[BinaryIO]:
    from headrace.bulk.output import output_errors

    # A buffer of our own: what sys.stdout can't get rid of it tries again as Python ends.
    stream = open(1, "wb", closefd=False)  # noqa: SIM115 - closed below, and no path
    try:
        yield stream
        with output_errors():
            stream.flush()
    finally:
        with contextlib.suppress(OSError):
            stream.close()
