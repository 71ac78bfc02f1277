"""EngineSupervisor: keeps an engine alive and answers every item, whatever dies."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from headrace.engine import messages
from headrace.engine.judge import Death, Judge
from headrace.engine.process import EngineProcess
from headrace.engine.slot import EngineSlot
from headrace.engine.states import ModelStates
from headrace.engine.watch import Running, Watch, describe
from headrace.engine.work import Listener, WorkItem, encode_window
from headrace.errors import HeadraceError, InvalidInput, JobRevoked
from headrace.sdk.messages import Outcome

logger = logging.getLogger(__name__)

#: Limit in seconds of what begins before `Loaded` has told the model's own.
_UNKNOWN_LIMIT = 300.0


class EngineSupervisor:
    """Hands items to an engine, restarts it, and bisects what it died of.

    Not thread-safe: one event loop calls `submit`, `on_readable` and `tick`.
    """

    def __init__(
        self,
        spawn: Callable[[], EngineProcess],
        listener: Listener,
        *,
        load_time_limit: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slot = EngineSlot(spawn, clock)
        self._listener = listener
        self._load_time_limit = load_time_limit
        self._watch = Watch(clock)
        self._judge = Judge()
        self._items: dict[int, WorkItem] = {}
        self._unsent: list[int] = []
        self._sent: set[int] = set()
        #: Items that the engine has and that nobody wants any more.
        self._cancelled: set[int] = set()
        self._isolating = False
        #: What this engine has told of its models.
        self.models = ModelStates()

    @property
    def engine(self) -> EngineProcess | None:
        """The running engine, None between a death and the restart."""
        return self._slot.engine

    @property
    def engine_pid(self) -> int | None:
        """Process id of the running engine."""
        return self._slot.pid

    @property
    def restarts(self) -> int:
        """Engines started after the first one."""
        return self._slot.restarts

    def start(self) -> None:
        """Spawn an engine."""
        try:
            engine = self._slot.fill()
        except OSError:
            logger.exception("no engine can be spawned: trying again")
            self._slot.postpone()
            return
        self.models.clear()
        self._listener.on_connected(engine)

    def submit(self, items: Iterable[WorkItem]) -> None:
        """Take responsibility for items: each gets exactly one outcome."""
        for item in items:
            self._items[item.item_id] = item
            self._unsent.append(item.item_id)
        self._pump()

    def cancel(self, item_ids: Iterable[int]) -> None:
        """Answer waiting items with JobRevoked; those in the engine are skipped if not begun."""
        known = [item_id for item_id in item_ids if item_id in self._items]
        sent = [item_id for item_id in known if item_id in self._sent]
        self._cancelled.update(sent)
        if sent:
            self._send(messages.Cancel(item_ids=sent).encode())
        self._judge.suspects.drop(known)
        self._fail([each for each in known if each not in self._sent], JobRevoked("the job was revoked before it ran"))

    def on_readable(self) -> None:
        """Handle what the engine has sent."""
        engine = self._slot.engine
        if engine is None:
            return
        try:
            for message in engine.receive():
                self._handle(message)
                # What was handled may have found the engine dead; the rest is of no use then.
                if self._slot.engine is not engine:
                    break
        except EOFError:
            self._on_death(None)
        self._pump()

    def tick(self) -> None:
        """Enforce time limits and restart a dead engine; call it a few times a second."""
        self.on_readable()
        overdue = self._watch.overdue()
        if self._slot.is_due():
            self.start()
        elif self._slot.engine and (overdue or self._slot.is_late()):
            self._slot.engine.kill()
            self._on_death(overdue)

    def close(self) -> None:
        """End the engine in order."""
        if self._slot.engine:
            self._slot.engine.close()
            self._slot.vacate()

    def kill(self) -> None:
        """End the engine at once."""
        if self._slot.engine:
            self._slot.engine.kill()
            self._slot.engine.reap()
            self._slot.vacate()

    # -- to the engine

    def _pump(self) -> None:
        if not self._slot.ready:
            return
        if self._isolating and self._sent:
            return
        self._isolating = bool(self._judge.suspects)
        if self._isolating:
            if not self._sent:
                self._judge.suspects.give_back(self._send_items(self._judge.suspects.take()))
            return
        unsent, self._unsent = self._unsent, []
        if left := self._send_items(unsent):
            self._unsent = sorted({*left, *self._unsent})

    def _send_items(self, item_ids: Sequence[int]) -> list[int]:
        """Send items; return those that were not, since the engine turned out to be dead."""
        left = [self._items[item_id] for item_id in item_ids if item_id in self._items]
        while left:
            model = left[0].terms.model
            window, sent, unsendable = encode_window([item for item in left if item.terms.model == model])
            self._fail(unsendable, InvalidInput("the input has a number, text or depth that no engine can be sent"))
            if window and not self._send(window):
                break
            self._sent.update(sent)
            left = [item for item in left if item.terms.model != model]
        return [item.item_id for item in left]

    def _send(self, message: bytes) -> bool:
        if self._slot.engine is None:
            return False
        try:
            self._slot.engine.send(message)
        except OSError:
            self._slot.engine.kill()
            self._on_death(None)
            return False
        return True

    # -- from the engine

    def _handle(self, message: messages.Message) -> None:
        self.models.note(message)
        if isinstance(message, messages.Outcomes):
            self._answered(message)
        elif isinstance(message, messages.Started):
            self._watch.started(message, limit=self._limit(message))
        elif isinstance(message, messages.Ended):
            self._watch.ended(message)
        elif isinstance(message, messages.Loaded):
            self._judge.loaded(message.model)
            logger.info("model %s loaded in %.1f s", message.model, message.seconds)
        elif isinstance(message, messages.Ready):
            self._slot.ready = True
            self._judge.started()

    def _answered(self, message: messages.Outcomes) -> None:
        answered = [
            (item_id, Outcome(error=messages.error_from_engine(error)) if error else Outcome(output=output))
            for item_id, output, error in message.outcomes
            if self._forget(item_id)
        ]
        self._slot.prove()
        self._listener.on_outcomes(message.model, message.seconds, answered)

    def _forget(self, item_id: int) -> bool:
        self._sent.discard(item_id)
        self._cancelled.discard(item_id)
        self._judge.suspects.forget(item_id)
        return self._items.pop(item_id, None) is not None

    def _limit(self, started: messages.Started) -> float:
        if started.stage == "load":
            return self._load_time_limit
        loaded = self.models.loaded(started.model)
        own = loaded.batch_time_limit if loaded else _UNKNOWN_LIMIT
        if started.stage == "prepare":
            # A window has many jobs' items: the limit of one is none of the others'.
            return own
        items = (self._items.get(item_id) for item_id in started.item_ids)
        return min([own, *(item.terms.time_limit for item in items if item and item.terms.time_limit)])

    # -- when it dies

    def _on_death(self, overdue: Running | None) -> None:
        engine = self._slot.engine
        if engine is None:
            return
        was_ready = self._slot.empty()
        self._hear_out(engine)
        self._listener.on_disconnected(engine)
        how = engine.reap()
        running = list(self._watch)
        logger.error("engine %s: %s; it was running %s", engine.pid, how, describe(running))
        self._watch.clear()
        self._fail(self._cancelled, JobRevoked("the job was revoked while it ran"))
        death = Death(how=how, running=running, overdue=overdue, was_ready=was_ready, sent=self._sent)
        verdict = self._judge.judge(death, self._items)
        for item_ids, error in verdict.failed:
            self._fail(item_ids, error)
        self._unsent = [*sorted(self._sent - verdict.suspects), *self._unsent]
        self._sent.clear()
        self._isolating = False

    def _hear_out(self, engine: EngineProcess) -> None:
        """Take what the engine has said before it died."""
        with contextlib.suppress(EOFError):
            for message in engine.receive():
                if not isinstance(message, messages.Ready):
                    self._handle(message)

    def _fail(self, item_ids: Iterable[int], error: HeadraceError) -> None:
        for item_id in list(item_ids):
            item = self._items.get(item_id)
            if item is not None and self._forget(item_id):
                self._listener.on_outcomes(item.terms.model, 0.0, [(item_id, Outcome(error=error))])
