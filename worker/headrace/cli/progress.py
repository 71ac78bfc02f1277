"""The progress bar of a run, on stderr and for people only."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from headrace.bulk.run import Summary

_PIECE_BYTES = 1 << 20
#: A larger file is not read twice just to know its length.
_MOST_BYTES = 1 << 30
#: Seconds between two updates: a run may have thousands of items a second.
_PERIOD = 0.1

Update = Callable[["Summary"], None]


def count_lines(stream: BinaryIO) -> int | None:
    """Lines from here to the end of a regular file; None where counting is not cheap or nobody looks."""
    if not sys.stderr.isatty():
        return None
    status = os.fstat(stream.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
        return None
    begin = stream.tell()
    lines, last = 0, b"\n"
    while piece := stream.read(_PIECE_BYTES):
        lines += piece.count(b"\n")
        last = piece[-1:]
    stream.seek(begin)
    return lines + (last != b"\n")


@contextmanager
def shown_progress(total: int | None) -> Iterator[Update]:
    """A function that shows a summary on the bar, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f}/s"),
        TextColumn("{task.fields[failures]} failed"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, rate=0.0, failures=0)

        def show(summary: "Summary") -> None:
            rate, failures = summary.items_per_second, summary.failures
            bar.update(task, completed=summary.items, rate=rate, failures=failures)

        yield throttled(show, total)


def throttled(show: Update, total: int | None, clock: Callable[[], float] = time.monotonic) -> Update:
    """Show at most every tenth of a second, and the last item of a known number."""
    shown = -_PERIOD

    def update(summary: "Summary") -> None:
        nonlocal shown
        if summary.items == total or clock() - shown >= _PERIOD:
            shown = clock()
            show(summary)

    return update
