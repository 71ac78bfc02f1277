"""`headrace run`: a file through a model, starting whatever is missing."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from headrace.broker.access import open_broker
from headrace.broker.connection import broker_errors
from headrace.broker.registry import WorkerRecord
from headrace.bulk.formats import Row, read_rows, write_row
from headrace.bulk.output import output_errors
from headrace.client import Client, MapItem
from headrace.errors import BrokerUnavailable, HeadraceError, SetupFailed
from headrace.launcher import Launcher, log_file, parse_devices
from headrace.plugins.discovery import discover
from headrace.settings import Settings

#: Seconds that a started worker may take until its first sign of life.
_START_LIMIT = 60.0
#: Deaths of own workers, with no item done between them, after which a run gives up.
_RESTARTS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What to run."""

    model: str
    #: The row's field that holds the input; None for the one that the manifest names.
    field: str | None = None
    #: The model's parameters for all rows.
    params: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: Inputs per job; None for about a second of a worker's time.
    chunk_size: int | None = None
    devices: str = "auto"


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


class Workers:
    """Makes sure that somebody serves the model, for as long as the run lasts."""

    def __init__(self, client: Client, options: RunOptions, log_file: Path, note: Callable[[str], None]) -> None:
        self._client = client
        self._options = options
        self._log_file = log_file
        self._note = note
        self._catalog = discover(client.settings.plugin_path)
        self._own: Launcher | None = None
        self._restarts_at_progress = 0
        #: Engines that each worker has lost, and those that were lost in this run.
        self._deaths: dict[str, int] = {}
        self._died = 0

    def ensure(self) -> None:
        """Start workers of our own if there are none, or none any more.

        Raises:
            SetupFailed: If workers of our own keep dying without an item done.
        """
        if self._own is None and not self._serving():
            self._start()
        elif self._own is not None:
            self._check_own(self._own)
        # A Redis that is away for a moment is waited for.
        with contextlib.suppress(BrokerUnavailable):
            self._note_deaths(self._serving())

    def _start(self) -> None:
        # A model that only another machine's workers had cannot be started here.
        self._catalog.get(self._options.model)
        self._own = Launcher(
            self._client.url,
            parse_devices(self._options.devices),
            models=[self._options.model],
            prefix=f"run-{os.getpid()}-",
            log_file=self._log_file,
        )
        self._own.start()
        self._own.wait_ready(self._client.registry, _START_LIMIT)

    def _check_own(self, own: Launcher) -> None:
        if own.restarts - self._restarts_at_progress >= _RESTARTS:
            raise SetupFailed(f"no worker stays up for {self._options.model}: see {self._log_file}")

    def note_progress(self) -> None:
        """An item is done: what died before counts no more."""
        if self._own is not None:
            self._restarts_at_progress = self._own.restarts

    def _serving(self) -> Sequence[WorkerRecord]:
        with broker_errors(self._client.url):
            return [worker for worker in self._client.registry.workers() if self._options.model in worker.models]

    def _note_deaths(self, serving: Sequence[WorkerRecord]) -> None:
        """Tell of engines that died since the last look: a run that loses one at every item is slow."""
        deaths = {worker.name: worker.engine_restarts for worker in serving}
        if new := sum(max(0, count - self._deaths.get(name, count)) for name, count in deaths.items()):
            where = f": see {self._log_file}" if self._own else ""
            self._died += new
            self._note(f"engine deaths so far: {self._died}; what an engine ran runs again in halves{where}")
        self._deaths |= deaths

    def close(self) -> None:
        """Drain the workers that we started."""
        if self._own is not None:
            self._own.close()


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
        BrokerUnavailable: If there is no Redis, or it goes away.
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
        target = manifest.field or "text"
        rows = read_rows(source, field=options.field or target, target=target)
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


def _input_of(row: Row) -> Any:
    if row.error is not None:
        raise row.error
    return row.input
