"""EngineSupervisor: keeps an engine alive and answers every item, whatever dies."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from headrace.engine import messages
from headrace.engine.process import EngineProcess
from headrace.engine.suspects import Suspects
from headrace.engine.watch import Running, Watch
from headrace.engine.work import Listener, WorkItem
from headrace.errors import EngineDied, HeadraceError, JobRevoked, TimeLimitExceeded
from headrace.lifetime import Backoff
from headrace.sdk.messages import Outcome

logger = logging.getLogger(__name__)

#: Deaths in one stage (starting, loading a model) after which the waiting items fail.
_STAGE_DEATHS = 3
#: Seconds from spawn to Ready.
_START_LIMIT = 60.0
#: Seconds before a restart: none after the first death, then doubling between these.
_FIRST_DELAY, _LAST_DELAY = 0.1, 5.0
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
        self._spawn = spawn
        self._listener = listener
        self._load_time_limit = load_time_limit
        self._clock = clock
        self._watch = Watch(clock)
        self._suspects = Suspects()
        self._engine: EngineProcess | None = None
        self._ready = False
        self._restart_at = 0.0
        self._spawned_at = 0.0
        self._stage_deaths: dict[str, int] = {}
        self._backoff = Backoff(_FIRST_DELAY, _LAST_DELAY)
        self._items: dict[int, WorkItem] = {}
        self._unsent: list[int] = []
        self._sent: set[int] = set()
        self._isolating = False
        #: Limits of the models that this engine has loaded.
        self.loaded: dict[str, messages.Loaded] = {}
        #: Engines started after the first one.
        self.restarts = -1

    @property
    def engine(self) -> EngineProcess | None:
        """The running engine, None between a death and the restart."""
        return self._engine

    @property
    def engine_pid(self) -> int | None:
        """Process id of the running engine."""
        return self._engine.pid if self._engine else None

    @property
    def outstanding(self) -> int:
        """Items without an outcome."""
        return len(self._items)

    def start(self) -> None:
        """Spawn an engine."""
        self._engine, self._ready = self._spawn(), False
        self._engine.start()
        self._spawned_at = self._clock()
        self.restarts += 1
        self.loaded.clear()
        self._listener.on_connected(self._engine)

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
        if sent and self._engine:
            self._send(messages.Cancel(item_ids=sent))
        self._suspects.drop(known)
        self._fail([each for each in known if each not in self._sent], JobRevoked("the job was revoked before it ran"))

    def on_readable(self) -> None:
        """Handle what the engine has sent."""
        engine = self._engine
        if engine is None:
            return
        try:
            for message in engine.receive():
                self._handle(message)
        except EOFError:
            self._on_death(None)
        self._pump()

    def tick(self) -> None:
        """Enforce time limits and restart a dead engine; call it a few times a second."""
        self.on_readable()
        now = self._clock()
        if self._engine is None:
            if now >= self._restart_at:
                self.start()
        elif overdue := self._watch.overdue():
            self._engine.kill()
            self._on_death(overdue)
        elif not self._ready and now - self._spawned_at > _START_LIMIT:
            self._engine.kill()
            self._on_death(None)

    def close(self) -> None:
        """End the engine in order."""
        if self._engine:
            self._engine.close()
            self._engine = None

    def kill(self) -> None:
        """End the engine at once."""
        if self._engine:
            self._engine.kill()
            self._engine.reap()
            self._engine = None

    # -- to the engine

    def _pump(self) -> None:
        if not self._ready:
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
            rows = [
                (item.item_id, item.input, item.params, item.deadline, item.expires)
                for item in live
                if item.model == model
            ]
            if not self._send(messages.Window(model=model, items=rows)):
                return

    def _send(self, message: messages.Message) -> bool:
        if self._engine is None:
            return False
        try:
            self._engine.send(message)
        except OSError:
            self._engine.kill()
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
            self._ready = True
            self._stage_deaths.pop("", None)

    def _answered(self, message: messages.Outcomes) -> None:
        answered = [
            (item_id, Outcome(error=messages.error_from_engine(error)) if error else Outcome(output=output))
            for item_id, output, error in message.outcomes
            if self._forget(item_id)
        ]
        self._backoff.reset()
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
        items = (self._items.get(item_id) for item_id in started.item_ids)
        return min([own, *(item.time_limit for item in items if item and item.time_limit)])

    # -- when it dies

    def _on_death(self, overdue: Running | None) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        self._listener.on_disconnected(engine)
        how = engine.reap()
        running = [overdue] if overdue else list(self._watch)
        logger.error("engine %s: %s; it was running %s", engine.pid, how, _describe(running))
        was_ready, self._ready = self._ready, False
        self._watch.clear()
        self._restart_at = self._clock() + self._backoff.next_delay()
        suspects = self._judge(running, how, overdue=overdue is not None)
        if not was_ready:
            self._stage_died("", list(self._items), f"the engine cannot start ({how}): see the worker's log")
        self._unsent = [*sorted(self._sent - suspects), *self._unsent]
        self._sent.clear()
        self._isolating = False

    def _judge(self, running: Sequence[Running], how: str, *, overdue: bool) -> set[int]:
        """Fail the guilty; return the suspects, which run alone from now on."""
        for each in running:
            if each.stage == "load":
                self._load_died(each, how, overdue=overdue)
        groups = [self._unanswered(each.item_ids) for each in running if each.stage != "load"]
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


def _describe(running: Sequence[Running]) -> str:
    return ", ".join(f"{each.stage} of {len(each.item_ids)} {each.model} items" for each in running) or "nothing"
