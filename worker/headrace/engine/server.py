"""The engine's own side: one process that owns a device and runs plugins on it."""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Container, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from headrace.engine.batch import BatchExecutor, Entry
from headrace.engine.continuous import ContinuousExecutor
from headrace.engine.inbox import Inbox, Waiting
from headrace.engine.messages import Cancel, Decoder, Evicted, Loaded, LoadFailed, Message, Ready, Shutdown, Window
from headrace.engine.outcomes import Answer, Report
from headrace.engine.placing import Placing, in_words
from headrace.engine.prepare import prepare_window
from headrace.engine.residency import Residency
from headrace.engine.resident import Resident
from headrace.engine.turns import Line, Turns
from headrace.errors import HeadraceError, InferenceFailed, SetupFailed, describe
from headrace.hardware.meter import MemoryMeter
from headrace.memory.residency import Turn
from headrace.memory.store import CostStore
from headrace.plugins.manager import PluginManager
from headrace.sdk.continuous import ContinuousPluginInterface
from headrace.sdk.messages import Outcome
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

_RECEIVE_BYTES = 1 << 20
#: Seconds between two looks of an idle engine for models that nobody needs any more.
_LOOK_SECONDS = 1.0


class EngineServer:
    """Receives windows, loads plugins on their first job, streams outcomes back.

    Three threads: one receives, one prepares, the main one loads and infers. A fourth one loads beside batches.
    """

    def __init__(
        self, connection: socket.socket, manager: PluginManager, meter: MemoryMeter, store: CostStore, placing: Placing
    ) -> None:
        self._connection = connection
        self._manager = manager
        self._inbox = Inbox()
        self._report = Report(connection.sendall)
        self._residency = Residency(manager, meter, store, placing=placing, on_evicting=self._on_evicting)
        self._arrivals = self._residency.arrivals
        self._turns = Turns(self._residency)
        self._cancelled: set[int] = set()
        self._executor = BatchExecutor(report=self._report, cancelled=self._cancelled.__contains__)
        self._continuous = ContinuousExecutor(report=self._report, meter=meter, cancelled=self._cancelled)
        self._preparing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")

    def serve(self) -> None:
        """Run windows until the worker says Shutdown."""
        threading.Thread(target=self._receive, name="receive", daemon=True).start()
        self._report.send(Ready())
        while not self._inbox.closed:
            # While a model is loaded beside them only those on the device have turns: nobody comes, and nobody goes.
            loading = self._arrivals.loader.model
            patience = 0.0 if self._continuous.busy else _LOOK_SECONDS
            waiting = self._inbox.wait(patience, only=self._residency.resident if loading else None)
            lines = self._continuous.with_begun(waiting)
            if self._arrivals.loader.ended:
                self._land()
            elif not loading:
                self._turns.evict_expired(lines)
            if lines:
                self._take_turn(lines, waiting)
            else:
                self._continuous.rest()
        self._preparing.shutdown(cancel_futures=True)
        self._residency.close()

    def _take_turn(self, lines: Mapping[str, Line], waiting: Container[str]) -> None:
        if len(lines) > 1 or self._residency.resident:
            self._expect(lines)
        turn = self._turns.choose(lines)
        if self._begins_beside(turn):
            return
        windows = self._inbox.take(turn.model, self._executor.window(turn.model)) if turn.model in waiting else ()
        item_ids = [item[0] for waiting in windows for item in waiting.window.items]
        self._turns.note(turn.model, len(item_ids))
        self._run(turn, windows, item_ids)
        if not self._continuous.busy:
            self._cancelled.difference_update(item_ids)
        if self._inbox.idle and not self._continuous.busy:
            # Cancelled after their turn: nothing that waits is among them.
            self._cancelled.clear()

    def _expect(self, lines: Mapping[str, Line]) -> None:
        """Where there is a choice to make, it is made by what models take that were never loaded, too."""
        for model in lines:
            if not self._residency.prospects.knows(model):
                with self._report.stage("load", model, self._inbox.item_ids(model)):
                    self._residency.expect(model)

    def _run(self, turn: Turn, windows: Sequence[Waiting], item_ids: list[int]) -> None:
        model = turn.model
        try:
            resident = self._residency.get(model) or self._load(turn, item_ids)
        except Exception as caught:  # noqa: BLE001 - a plugin may raise anything; every item is answered
            error = _as_setup_failure(model, caught)
            self._report.send(LoadFailed(model=model, reason=str(error)))
            self._report.answer(model, 0.0, _all_failed(item_ids, error))
        else:
            self._run_on(model, resident, windows, item_ids)
            self._residency.touch(model)
            self._residency.keep()

    def _run_on(self, model: str, resident: Resident, turn: Sequence[Waiting], item_ids: list[int]) -> None:
        try:
            entries = self._entries(resident, turn)
            if isinstance(resident.plugin, ContinuousPluginInterface):
                windows = [waiting.window for waiting in turn]
                self._continuous.run(model, resident, windows, entries, joins=lambda: self._inbox.has(model))
            else:
                self._executor.run(model, resident.plugin, entries, resident.guard)
        except Exception as caught:
            logger.exception("a window of %s could not be run", model)
            error = InferenceFailed(f"the engine could not run the item: {describe(caught)}")
            # Items that have an outcome already keep it: the worker takes the first one.
            self._report.answer(model, 0.0, _all_failed(item_ids, error))

    def _entries(self, resident: Resident, turn: Sequence[Waiting]) -> list[Entry]:
        futures = [waiting.entries or self._prepare(resident.plugin, waiting.window) for waiting in turn]
        entries: list[Entry] = []
        for waiting, future in zip(turn, futures, strict=True):
            prepared = future.result()
            if prepared is None:
                # The model was evicted before it came to this window, and is back.
                prepared = self._prepare(resident.plugin, waiting.window).result()
            entries += prepared or []
        return entries

    def _load(self, turn: Turn, item_ids: list[int]) -> Resident:
        with self._report.stage("load", turn.model, item_ids):
            resident = self._residency.load(turn.model, evict=turn.evict)
        self._report.send(_loaded(turn.model, resident))
        return resident

    def _begins_beside(self, turn: Turn) -> bool:
        """Begin to load a model while others run, if it is to be loaded and may be so."""
        model = turn.model
        if turn.evict or model in self._residency.resident or self._residency.refuses(model):
            return False
        item_ids = self._inbox.item_ids(model)
        # What goes wrong before it begins is told by the load that then stops the others.
        with contextlib.suppress(HeadraceError):
            return self._arrivals.begin(
                model,
                within=lambda: self._report.stage("load", model, item_ids),
                then=self._inbox.wake,
                land_now=self._land,
            )
        return False

    def _land(self) -> None:
        """Take in what was loaded beside batches; if it failed, its items hear of it in their turn."""
        model = self._arrivals.loader.model
        # Before the stage begins in which it is taken in: its thread ends one of the same name.
        self._arrivals.loader.wait()
        try:
            with self._report.stage("load", model, self._inbox.item_ids(model)):
                resident = self._arrivals.land()
        except Exception as caught:  # noqa: BLE001 - as in `_run`
            error = _as_setup_failure(model, caught)
            # Whatever failed, its measuring too: else it would be loaded again and again, and nobody answered.
            self._manager.note_failure(model, error)
            self._report.send(LoadFailed(model=model, reason=str(error)))
        else:
            if resident:
                self._report.send(_loaded(model, resident))

    def _on_evicting(self, model: str) -> None:
        """Wait until what is being prepared is through: what comes after it sees that its model has gone."""
        self._preparing.submit(lambda: None).result()
        for window in self._continuous.suspend(model):
            self._inbox.put(Waiting(window, None, time.monotonic()))
        self._report.send(Evicted(model=model))

    def _prepare(self, plugin: ModelPluginInterface, window: Window) -> Future[list[Entry] | None]:
        return self._preparing.submit(self._prepare_reporting, plugin, window)

    def _prepare_reporting(self, plugin: ModelPluginInterface, window: Window) -> list[Entry] | None:
        if self._manager.get(window.model) is not plugin:
            return None
        with self._report.stage("prepare", window.model, [item[0] for item in window.items]):
            beside = self._manager.manifest(window.model).beside_names
            return prepare_window(plugin, window, time.monotonic(), beside=beside)

    def _receive(self) -> None:
        try:
            self._receive_all(Decoder())
        except Exception:
            logger.exception("the worker cannot be heard any more")
        finally:
            # The worker is gone: nobody is left to hear an outcome, and whatever the other
            # threads run must not keep the device. Exit without waiting for them.
            os._exit(1)

    def _receive_all(self, decoder: Decoder) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self._connection.recv(_RECEIVE_BYTES):
                for message in decoder.feed(data):
                    self._handle(message)

    def _handle(self, message: Message) -> None:
        if isinstance(message, Window):
            if message.load_alone:
                self._arrivals.loader.alone.add(message.model)
            plugin = self._manager.get(message.model)
            entries = self._prepare(plugin, message) if plugin else None
            self._inbox.put(Waiting(message, entries, time.monotonic()))
        elif isinstance(message, Cancel):
            self._cancelled.update(message.item_ids)
        elif isinstance(message, Shutdown):
            self._inbox.close()


def _loaded(model: str, resident: Resident) -> Loaded:
    plugin, config = resident.plugin, resident.plugin.config
    return Loaded(
        model=model,
        seconds=resident.load_seconds,
        max_batch_size=config.max_batch_size,
        max_batch_tokens=config.max_batch_tokens,
        batch_time_limit=config.batch_time_limit,
        concurrency=plugin.concurrency if isinstance(plugin, ContinuousPluginInterface) else 0,
        weights=resident.weights,
        paged=in_words(resident.plugin.placed),
        attention=str(resident.plugin.attention or ""),
    )


def _all_failed(item_ids: list[int], error: HeadraceError) -> list[Answer]:
    return [Answer(item_id, Outcome(error=error)) for item_id in item_ids]


def _as_setup_failure(model: str, caught: Exception) -> HeadraceError:
    logger.error("model %s cannot be used", model, exc_info=caught)
    if isinstance(caught, HeadraceError):
        return caught
    error = SetupFailed(f"model {model} could not be loaded: {describe(caught)}")
    error.__cause__ = caught
    return error
