"""EngineSupervisor: keeps an engine alive and answers every item, whatever dies."""

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence

from headrace.engine import messages
from headrace.engine.custody import Custody
from headrace.engine.hand_over import HandOver
from headrace.engine.judge import Death, Judge
from headrace.engine.limits import Limits
from headrace.engine.names import name_items
from headrace.engine.process import EngineProcess
from headrace.engine.slot import EngineSlot
from headrace.engine.states import ModelStates
from headrace.engine.watch import SILENCE_LIMIT, Running, Watch, describe
from headrace.engine.work import Listener, WorkItem, encode_window
from headrace.errors import HeadraceError, InvalidInput, JobRevoked
from headrace.sdk.messages import Outcome

logger = logging.getLogger(__name__)


class EngineSupervisor:
    """Hands items to an engine, restarts it, and bisects what it died of.

    Not thread-safe: one event loop calls `submit`, `on_readable`, `on_writable` and `tick`.
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
        #: What this engine has told of its models.
        self.models = ModelStates()
        self._limits = Limits(self.models, load_time_limit)
        self._watch = Watch(clock)
        self._judge = Judge(clock)
        self._custody = Custody()
        self._hand_over = HandOver(self._custody, self._judge.suspects)

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
        """Engines started in place of one that died."""
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

    def submit(self, items: Sequence[WorkItem]) -> None:
        """Take responsibility for items: each gets exactly one outcome."""
        self._custody.take(items)
        for item_ids, error in self._judge.refused(items):
            self._fail(item_ids, error)
        self._pump()

    def cancel(self, item_ids: Iterable[int]) -> None:
        """Answer waiting items with JobRevoked; those in the engine are skipped if not begun."""
        sent, waiting = self._custody.cancel(item_ids)
        if sent:
            self._send(messages.Cancel(item_ids=sent).encode())
        self._judge.suspects.drop([*sent, *waiting])
        self._fail(waiting, JobRevoked("the job was revoked before it ran"))

    def terminate(self, item_ids: Collection[int]) -> None:
        """As `cancel`; and if the engine runs one of them now it is ended, and what else it had runs again."""
        self.cancel(item_ids)
        self._custody.terminated.update(self._custody.cancelled.intersection(item_ids))
        self._end_terminated()

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
        self._end_terminated()
        self._pump()

    def on_writable(self) -> None:
        """Send on what the engine did not take before."""
        self._send(b"")

    def tick(self) -> None:
        """Enforce time limits and restart a dead engine; call it a few times a second."""
        self.on_readable()
        # A loop that has lost its connection watches no socket.
        self.on_writable()
        overdue, silent = self._watch.overdue(), self._watch.is_silent(has_work=bool(self._custody.sent))
        if self._slot.is_due():
            self.start()
        elif self._slot.engine and (overdue or silent or self._slot.is_late()):
            if silent:
                logger.error("engine %s has work, and has said nothing for %g s", self.engine_pid, SILENCE_LIMIT)
            self._slot.engine.kill()
            self._on_death(overdue)

    def close(self) -> None:
        """End the engine in order."""
        self._slot.close()

    def kill(self) -> None:
        """End the engine at once."""
        self._slot.kill()

    # -- to the engine

    def _pump(self) -> None:
        if self._slot.ready:
            self._hand_over.feed(self._send_items)

    def _send_items(self, item_ids: Sequence[int]) -> list[int]:
        """Send items; return those that were not, since the engine turned out to be dead."""
        left = [self._custody.items[item_id] for item_id in item_ids if item_id in self._custody.items]
        while left:
            model = left[0].terms.model
            mine = [item for item in left if item.terms.model == model]
            window, sent, unsendable = encode_window(mine, load_alone=model in self._judge.load_alone)
            self._fail(unsendable, InvalidInput("the input has a number, text or depth that no engine can be sent"))
            if window and not self._send(window):
                break
            self._custody.sent.update(sent)
            left = [item for item in left if item.terms.model != model]
        return [item.item_id for item in left]

    def _send(self, message: bytes) -> bool:
        engine = self._slot.engine
        if engine is None:
            return False
        try:
            engine.send(message)
        except OSError:
            self._on_death(None)
            return False
        if engine.unsent:
            self._listener.on_unsent(engine)
        return True

    # -- from the engine

    def _handle(self, message: messages.Message) -> None:
        self.models.note(message)
        self._watch.heard()
        if isinstance(message, messages.Outcomes):
            self._answered(message)
        elif isinstance(message, messages.Started):
            self._watch.started(message, limit=self._limits.of(message, self._custody.items))
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

    def _forget(self, item_id: int) -> WorkItem | None:
        self._judge.suspects.forget(item_id)
        return self._custody.forget(item_id)

    # -- when it ends

    def _end_terminated(self) -> None:
        """End an engine that runs what was terminated; nothing is held against anybody."""
        engine = self._slot.engine
        if engine is None or self._custody.terminated.isdisjoint(self._watch.foremost):
            return
        logger.info("engine %s is ended: a job that it ran was terminated, and the others run again", engine.pid)
        engine.kill()
        self._slot.replace()
        self._bury(engine)
        self._hand_over.undo()

    def _on_death(self, overdue: Running | None) -> None:
        engine = self._slot.engine
        if engine is None:
            return
        was_ready = self._slot.empty()
        how, running = self._bury(engine)
        logger.error("engine %s: %s; it was running %s", engine.pid, how, describe(running, self._custody.items))
        death = Death(how=how, running=running, overdue=overdue, was_ready=was_ready, sent=self._custody.sent)
        verdict = self._judge.judge(death, self._custody.items)
        self.models.refuse(verdict.unloadable)
        for item_ids, error in verdict.failed:
            logger.error("failed: %s: %s", name_items(item_ids, self._custody.items), error)
            self._fail(item_ids, error)
        self._hand_over.take_back(verdict.suspects)

    def _bury(self, engine: EngineProcess) -> tuple[str, list[Running]]:
        """Take its last words, and answer what nobody wants; return how it ended, and what it ran."""
        self._hear_out(engine)
        self._listener.on_disconnected(engine)
        how = engine.reap()
        running = list(self._watch)
        self._watch.clear()
        self._fail(self._custody.cancelled, JobRevoked("the job was revoked while it ran"))
        return how, running

    def _hear_out(self, engine: EngineProcess) -> None:
        """Take what the engine has said before it died."""
        with contextlib.suppress(EOFError):
            for message in engine.receive():
                if not isinstance(message, messages.Ready):
                    self._handle(message)

    def _fail(self, item_ids: Iterable[int], error: HeadraceError) -> None:
        for item_id in list(item_ids):
            if item := self._forget(item_id):
                self._listener.on_outcomes(item.terms.model, 0.0, [(item_id, Outcome(error=error))])
