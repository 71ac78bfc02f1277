"""A supervisor over engines without a process, and whoever listens to it."""

from collections.abc import Sequence

from headrace.engine.messages import Message, Stage, Started
from headrace.engine.process import EngineProcess
from headrace.engine.supervisor import EngineSupervisor
from headrace.engine.work import Terms, WorkItem
from headrace.sdk.messages import Outcome
from tests.utils.clock import Clock
from tests.utils.engines import Engines

LOAD_LIMIT = 600.0


class Hearer:
    """Keeps what the supervisor tells its listener."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, float, list[int]]] = []
        self.outcomes: dict[int, Outcome] = {}
        self.engines: list[tuple[str, EngineProcess]] = []

    def on_outcomes(self, model: str, seconds: float, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        """Note outcomes.

        Raises:
            AssertionError: If an item has one already.
        """
        self.batches.append((model, seconds, [item_id for item_id, _ in outcomes]))
        for item_id, outcome in outcomes:
            assert item_id not in self.outcomes, f"item {item_id} was answered twice"
            self.outcomes[item_id] = outcome

    def on_connected(self, engine: EngineProcess) -> None:
        """Note an engine."""
        self.engines.append(("connected", engine))

    def on_unsent(self, engine: EngineProcess) -> None:
        """Note that it takes no more now."""
        self.engines.append(("unsent", engine))

    def on_disconnected(self, engine: EngineProcess) -> None:
        """Note its end."""
        self.engines.append(("disconnected", engine))

    @property
    def codes(self) -> dict[int, str | None]:
        """Each answered item's error code; None for an output."""
        return {item_id: each.error.code if each.error else None for item_id, each in self.outcomes.items()}


class Bench:
    """A supervisor with everything around it that a test moves or looks at."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.engines = Engines()
        self.heard = Hearer()
        self.supervisor = EngineSupervisor(self.engines, self.heard, load_time_limit=LOAD_LIMIT, clock=self.clock)

    def start(self) -> None:
        """Have a ready engine."""
        self.supervisor.start()
        self.hear(self.engines.ready())

    def submit(self, *item_ids: int, model: str = "m", time_limit: float | None = None) -> None:
        """Submit items whose input is their id."""
        terms = Terms(model=model, params={}, time_limit=time_limit)
        self.supervisor.submit([WorkItem(each, each, terms) for each in item_ids])

    def hear(self, *messages: Message) -> None:
        """Have the engine say something."""
        self.engines.last.says += messages
        self.supervisor.on_readable()

    def begin(self, stage: Stage, *item_ids: int, model: str = "m") -> None:
        """Have the engine begin something."""
        self.hear(Started(stage=stage, model=model, item_ids=list(item_ids)))

    def die(self, *last_words: Message) -> None:
        """Have the engine die, and the next one ready to run."""
        self.engines.last.dead = True
        self.hear(*last_words)
        self.clock.now += 10
        self.supervisor.tick()
        self.hear(self.engines.ready())

    @property
    def windows(self) -> list[list[int]]:
        """Item ids of each window of the running engine."""
        return self.engines.last.windows
