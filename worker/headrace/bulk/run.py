"""`headrace run`: a file through a model, starting whatever is missing."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, BinaryIO

from headrace.broker.access import open_broker
from headrace.bulk.formats import Fields, Row, read_rows, write_row
from headrace.bulk.options import RunOptions
from headrace.bulk.output import output_errors
from headrace.bulk.workers import Workers
from headrace.client import Client, MapItem
from headrace.errors import HeadraceError
from headrace.launcher import log_file
from headrace.sdk.manifest import PluginManifest
from headrace.settings import Settings


@dataclass(kw_only=True, slots=True)
class Summary:
    """What a run did."""

    items: int = 0
    failures: int = 0
    #: Seconds from the first row to the last; starting workers comes before.
    seconds: float = 0.0
    #: Batches, as a sum of each item's share in its own.
    batches: float = 0.0
    #: Items that were in a batch.
    ran: int = 0
    #: Of each code of an error: how many rows have it, and what the first of them says.
    errors: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)

    @property
    def mean_batch_size(self) -> float:
        """Items per batch, over the items that ran."""
        return self.ran / self.batches if self.batches else 0.0

    @property
    def items_per_second(self) -> float:
        """Throughput over the whole run."""
        return self.items / self.seconds if self.seconds else 0.0

    def add(self, item: MapItem, error: HeadraceError | None) -> None:
        """Count one item, whose row has an output or this error."""
        self.items += 1
        if error is not None:
            self.failures += 1
            count, first = self.errors.get(error.code, (0, str(error)))
            self.errors[error.code] = count + 1, first
        if item.batch_size:
            self.ran += 1
            self.batches += 1 / item.batch_size


def run(
    options: RunOptions,
    source: BinaryIO,
    sink: BinaryIO,
    *,
    settings: Settings,
    progress: Callable[[Summary], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Send every row of `source` through the model; write one row each to `sink`, in order.

    Raises:
        BrokerUnavailable: If there is no Redis, or it goes away for a minute.
        UnknownModel: If no plugin has the model's name.
        SetupFailed: If no worker can be kept running.
    """
    with ExitStack() as stack:
        client = stack.enter_context(Client(stack.enter_context(open_broker(settings)), settings=settings))
        manifest = client.manifest(options.model)
        log = log_file(settings, f"run-{os.getpid()}.log")
        workers = Workers(client, options, log, note)
        stack.callback(workers.close)
        workers.ensure()
        rows = read_rows(source, _fields(manifest, options.field))
        summary = _pump(client, workers, rows, sink, options, progress)
        if not summary.failures:
            # Nothing in it that anybody would want to read.
            log.unlink(missing_ok=True)
        return summary


def _pump(
    client: Client,
    workers: Workers,
    rows: Iterator[Row],
    sink: BinaryIO,
    options: RunOptions,
    progress: Callable[[Summary], None],
) -> Summary:
    summary, begin = Summary(), time.monotonic()

    def on_wait() -> None:
        workers.ensure()
        progress(summary)

    items = client.map(
        options.model,
        rows,
        params=options.params,
        chunk_size=options.chunk_size,
        read=_input_of,
        on_wait=on_wait,
    )
    # Closed: a run that is interrupted cancels what it has queued.
    with closing(items):
        for item in items:
            # A row can fail here too: its output may be nothing that JSON can hold.
            with output_errors():
                error = write_row(sink, item.source.custom_id, item.output, item.error)
            summary.add(item, error)
            summary.seconds = time.monotonic() - begin
            workers.note_progress()
            progress(summary)
    return summary


def _fields(manifest: PluginManifest, name: str | None) -> Fields:
    target = manifest.field or "text"
    others = frozenset(manifest.input_schema.get("properties", {})) - {target}
    return Fields(name=name or target, target=target, others=others, params=manifest.beside_names)


def _input_of(row: Row) -> Any:
    if row.error is not None:
        raise row.error
    return row.input
