"""Workers: somebody who serves the model of a run, for as long as it lasts."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from headrace.broker.connection import broker_errors
from headrace.broker.registry import WorkerRecord
from headrace.bulk.options import RunOptions
from headrace.client import Client
from headrace.errors import BrokerUnavailable, SetupFailed
from headrace.launcher import Launcher, parse_devices
from headrace.plugins.discovery import discover

#: Seconds that a started worker may take until its first sign of life.
_START_LIMIT = 60.0
#: Deaths of own workers, with no item done between them, after which a run gives up.
_RESTARTS = 5
#: Seconds that others' workers get to come back: after a minute without Redis Celery's next try is 16 s away.
_RETURN_SECONDS = 20.0


class Workers:
    """Makes sure that somebody serves the model, for as long as the run lasts."""

    def __init__(
        self,
        client: Client,
        options: RunOptions,
        log_file: Path,
        note: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._options = options
        self._log_file = log_file
        self._note = note
        self._clock = clock
        self._catalog = discover(client.settings.plugin_path)
        self._own: Launcher | None = None
        self._restarts_at_progress = 0
        #: Engines that were lost in this run.
        self._died = 0
        #: When others' workers are gone for good if none is seen until then.
        self._wait_until = clock()
        #: Engines that each worker has lost.
        self._deaths: dict[str, int] = {}

    def ensure(self) -> None:
        """Start workers of our own if there are none, or none any more.

        A Redis that is away is waited for: who waits for results knows for how long.

        Raises:
            SetupFailed: If workers of our own keep dying without an item done.
        """
        if self._own is not None:
            self._check_own(self._own)
        try:
            serving = self._serving()
        except BrokerUnavailable:
            # Nobody could give a sign of life.
            self._wait_until = self._clock() + _RETURN_SECONDS
            return
        if self._own is None:
            self._look_for_others(serving)
        self._note_deaths(serving)

    def _look_for_others(self, serving: Sequence[WorkerRecord]) -> None:
        if serving:
            self._wait_until = self._clock() + _RETURN_SECONDS
        elif self._clock() >= self._wait_until:
            self._start()

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
            return self._client.registry.serving(self._options.model)

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
