"""EngineSupervisor: keeps an engine alive and answers every item, whatever dies."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from headrace.engine import messages
from headrace.engine.process import EngineProcess
from headrace.engine.slot import EngineSlot
from headrace.engine.suspects import Suspects
from headrace.engine.watch import Running, Watch, describe
from headrace.engine.work import Listener, WorkItem, window_rows
from headrace.errors import EngineDied, HeadraceError, InvalidInput, JobRevoked, TimeLimitExceeded
from headrace.sdk.messages import Outcome

logger = logging.getLogger(__name__)

#: Deaths in one stage (starting, loading a model) after which the waiting items fail.
_STAGE_DEATHS = 3
#: Limit of a batch whose model has not told its own yet, in seconds.
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
        self._suspects = Suspects()
        self._stage_deaths: dict[str, int] = {}
        self._items: dict[int, WorkItem] = {}
        self._unsent: list[int] = []
        self._sent: set[int] = set()
        self._isolating = False
        #: Limits of the models that this engine has loaded.
        self.loaded: dict[str, messages.Loaded] = {}

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
        self.loaded.clear()
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
        if sent:
            self._send(messages.Cancel(item_ids=sent))
        self._suspects.drop(known)
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
            self._slot.engine = None

    def kill(self) -> None:
        """End the engine at once."""
        if self._slot.engine:
            self._slot.engine.kill()
            self._slot.engine.reap()
            self._slot.engine = None

    # -- to the engine

    def _pump(self) -> None:
        if not self._slot.ready:
            return
        if self._isolating and self._sent:
            return
        self._isolating = bool(self._suspects)
        if self._isolating:
            if not self._sent:
                self._send_items(self._suspects.take())
            return
        unsent, self._unsent = self._unsent, []
        self._send_items(unsent)

    def _send_items(self, item_ids: Sequence[int]) -> None:
        live = [self._items[item_id] for item_id in item_ids if item_id in self._items]
        self._sent.update(item.item_id for item in live)
        for model in dict.fromkeys(item.model for item in live):
            rows, unsendable = window_rows([item for item in live if item.model == model])
            self._fail(unsendable, InvalidInput("the input has a number, text or depth that no engine can be sent"))
            if not self._send(messages.Window(model=model, items=rows)):
                return

    def _send(self, message: messages.Message) -> bool:
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
        if isinstance(message, messages.Outcomes):
            self._answered(message)
        elif isinstance(message, messages.Started):
            self._watch.started(message, limit=self._limit(message))
        elif isinstance(message, messages.Ended):
            self._watch.ended(message)
        elif isinstance(message, messages.Loaded):
            self.loaded[message.model] = message
            self._stage_deaths.pop(message.model, None)
            logger.info("model %s loaded in %.1f s", message.model, message.seconds)
        elif isinstance(message, messages.Ready):
            self._slot.ready = True
            self._stage_deaths.pop("", None)

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
        self._suspects.forget(item_id)
        return self._items.pop(item_id, None) is not None

    def _limit(self, started: messages.Started) -> float:
        if started.stage == "load":
            return self._load_time_limit
        loaded = self.loaded.get(started.model)
        own = loaded.batch_time_limit if loaded else _UNKNOWN_LIMIT
        if started.stage == "prepare":
            # A window has many jobs' items: the limit of one is none of the others'.
            return own
        items = (self._items.get(item_id) for item_id in started.item_ids)
        return min([own, *(item.time_limit for item in items if item and item.time_limit)])

    # -- when it dies

    def _on_death(self, overdue: Running | None) -> None:
        engine = self._slot.engine
        if engine is None:
            return
        was_ready = self._slot.empty()
        self._listener.on_disconnected(engine)
        how = engine.reap()
        running = [overdue] if overdue else list(self._watch)
        logger.error("engine %s: %s; it was running %s", engine.pid, how, describe(running))
        self._watch.clear()
        suspects = self._judge(running, how, overdue=overdue is not None, was_ready=was_ready)
        if not was_ready:
            self._stage_died("", list(self._items), f"the engine cannot start ({how}): see the worker's log")
        self._unsent = [*sorted(self._sent - suspects), *self._unsent]
        self._sent.clear()
        self._isolating = False

    def _judge(self, running: Sequence[Running], how: str, *, overdue: bool, was_ready: bool) -> set[int]:
        """Fail the guilty; return the suspects, which run alone from now on."""
        for each in running:
            if each.stage == "load":
                self._load_died(each, how, overdue=overdue)
        groups = [self._unanswered(each.item_ids) for each in running if each.stage != "load"]
        if not running and was_ready and self._sent:
            # It died between two stages: whatever it had is suspect, else this may go on for ever.
            groups = [sorted(self._sent)]
        if overdue and len(groups) == 1 and len(groups[0]) == 1:
            self._fail(groups[0], TimeLimitExceeded(f"the item ran longer than its limit of {running[0].limit:g} s"))
            return set()
        guilty = self._suspects.accuse(groups)
        self._fail(
            guilty, EngineDied(f"the engine died ({how}) each time it ran this item alone: see the worker's log")
        )
        return {item_id for group in groups for item_id in group}

    def _load_died(self, load: Running, how: str, *, overdue: bool) -> None:
        ids = [item.item_id for item in self._items.values() if item.model == load.model]
        if overdue:
            self._fail(ids, TimeLimitExceeded(f"loading model {load.model} took longer than {load.limit:g} s"))
        else:
            self._stage_died(load.model, ids, f"the engine died while it loaded model {load.model} ({how})")

    def _unanswered(self, item_ids: Iterable[int]) -> list[int]:
        return [item_id for item_id in item_ids if item_id in self._items]

    def _stage_died(self, stage: str, item_ids: list[int], message: str) -> None:
        deaths = self._stage_deaths[stage] = self._stage_deaths.get(stage, 0) + 1
        if deaths >= _STAGE_DEATHS:
            self._fail(item_ids, EngineDied(message))
            self._stage_deaths[stage] = 0

    def _fail(self, item_ids: Iterable[int], error: HeadraceError) -> None:
        for item_id in list(item_ids):
            item = self._items.get(item_id)
            if item is not None and self._forget(item_id):
                self._listener.on_outcomes(item.model, 0.0, [(item_id, Outcome(error=error))])
