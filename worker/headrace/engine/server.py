"""The engine's own side: one process that owns a device and runs plugins on it."""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from headrace.engine.batch import BatchExecutor, Entry
from headrace.engine.inbox import Inbox, Waiting
from headrace.engine.messages import Cancel, Decoder, Loaded, Message, Ready, Shutdown, Window
from headrace.engine.outcomes import Answer, Report
from headrace.engine.prepare import prepare_window
from headrace.errors import HeadraceError, InferenceFailed, SetupFailed, describe
from headrace.plugins.manager import PluginManager
from headrace.sdk.messages import Outcome
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

_RECEIVE_BYTES = 1 << 20


class EngineServer:
    """Receives windows, loads plugins on their first job, streams outcomes back.

    Three threads: one receives, one prepares, the main one loads and infers.
    """

    def __init__(self, connection: socket.socket, manager: PluginManager) -> None:
        self._connection = connection
        self._manager = manager
        self._inbox = Inbox()
        self._report = Report(connection.sendall)
        self._cancelled: set[int] = set()
        self._executor = BatchExecutor(report=self._report, cancelled=self._cancelled.__contains__)
        self._preparing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")

    def serve(self) -> None:
        """Run windows until the worker says Shutdown."""
        threading.Thread(target=self._receive, name="receive", daemon=True).start()
        self._report.send(Ready())
        while turn := self._inbox.take():
            self._run(turn)
        self._preparing.shutdown(cancel_futures=True)
        self._manager.close()

    def _run(self, turn: Sequence[Waiting]) -> None:
        model = turn[0].window.model
        item_ids = [item[0] for waiting in turn for item in waiting.window.items]
        try:
            plugin = self._load(model, item_ids)
        except Exception as caught:  # noqa: BLE001 - a plugin may raise anything; every item is answered
            self._report.answer(model, 0.0, _all_failed(item_ids, _as_setup_failure(model, caught)))
        else:
            self._run_on(plugin, turn, item_ids)
        self._cancelled.difference_update(item_ids)
        if self._inbox.idle:
            # Cancelled after their turn: nothing that waits is among them.
            self._cancelled.clear()

    def _run_on(self, plugin: ModelPluginInterface, turn: Sequence[Waiting], item_ids: list[int]) -> None:
        model = turn[0].window.model
        try:
            self._prepare_and_infer(model, plugin, turn)
        except Exception as caught:
            logger.exception("a window of %s could not be run", model)
            error = InferenceFailed(f"the engine could not run the item: {describe(caught)}")
            # Items that have an outcome already keep it: the worker takes the first one.
            self._report.answer(model, 0.0, _all_failed(item_ids, error))

    def _prepare_and_infer(self, model: str, plugin: ModelPluginInterface, turn: Sequence[Waiting]) -> None:
        futures = [waiting.entries or self._prepare(plugin, waiting.window) for waiting in turn]
        entries = [entry for future in futures for entry in future.result()]
        self._executor.run(model, plugin, entries)

    def _load(self, model: str, item_ids: list[int]) -> ModelPluginInterface:
        if model in self._manager.resident():
            return self._manager.load(model)
        begin = time.monotonic()
        with self._report.stage("load", model, item_ids):
            plugin = self._manager.load(model)
        self._report.send(_loaded(model, plugin, time.monotonic() - begin))
        return plugin

    def _prepare(self, plugin: ModelPluginInterface, window: Window) -> Future[list[Entry]]:
        return self._preparing.submit(self._prepare_reporting, plugin, window)

    def _prepare_reporting(self, plugin: ModelPluginInterface, window: Window) -> list[Entry]:
        with self._report.stage("prepare", window.model, [item[0] for item in window.items]):
            return prepare_window(plugin, window)

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
            resident = message.model in self._manager.resident()
            entries = self._prepare(self._manager.load(message.model), message) if resident else None
            self._inbox.put(Waiting(message, entries))
        elif isinstance(message, Cancel):
            self._cancelled.update(message.item_ids)
        elif isinstance(message, Shutdown):
            self._inbox.close()


def _loaded(model: str, plugin: ModelPluginInterface, seconds: float) -> Loaded:
    return Loaded(
        model=model,
        seconds=seconds,
        max_batch_size=plugin.config.max_batch_size,
        max_batch_tokens=plugin.config.max_batch_tokens,
        batch_time_limit=plugin.config.batch_time_limit,
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
