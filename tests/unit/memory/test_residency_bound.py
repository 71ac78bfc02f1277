"""next_turn over time: no model with work goes unserved for longer than `longest_unserved`, overload included."""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.memory.residency import ModelState, longest_unserved, next_turn, unfit

ROOM = 10


@dataclass(frozen=True, kw_only=True)
class World:
    models: list[ModelState]
    #: Item arrivals: seconds since the one before, model, how many.
    arrivals: list[tuple[float, int, int]]
    item_seconds: float
    window: float
    max_wait: float
    amortise: float

    @property
    def bound(self) -> float:
        loads = [model.load_seconds for model in self.models]
        return longest_unserved(loads, self.window, max_wait=self.max_wait, amortise=self.amortise)


@st.composite
def worlds(draw):
    count = draw(st.integers(2, 5))
    pinned = draw(st.integers(0, 1))
    models = [
        ModelState(
            name=f"m{number}",
            bytes=draw(st.integers(1, 6)),
            load_seconds=draw(st.sampled_from([0.0, 0.5, 2.0, 8.0])),
            resident=False,
            pinned=number < pinned,
            demand=draw(st.floats(0, 3)),
        )
        for number in range(count)
    ]
    arrival = st.tuples(st.floats(0, 8), st.integers(0, count - 1), st.sampled_from([1, 1, 3, 200]))
    return World(
        models=models,
        arrivals=draw(st.lists(arrival, min_size=1, max_size=80)),
        item_seconds=draw(st.sampled_from([0.01, 0.2, 1.0])),
        window=1.0,
        max_wait=draw(st.sampled_from([0.0, 5.0, 30.0])),
        amortise=draw(st.sampled_from([0.0, 1.0, 5.0])),
    )


class Run:
    """Runs a world, and notes how long each model that ran had gone unserved."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.now, self.swapped = 0.0, float("-inf")
        self.resident: set[str] = set()
        self.ran = {model.name: float("-inf") for model in world.models}
        self.queues: dict[str, list[float]] = {model.name: [] for model in world.models}
        self.unserved: list[float] = []
        at, self.coming = 0.0, []
        for gap, model, items in world.arrivals:
            at += gap
            self.coming += [(at, f"m{model}")] * items

    def states(self) -> list[ModelState]:
        return [
            replace(
                model,
                resident=model.name in self.resident,
                waiting=len(queue),
                oldest=self.now - queue[0] if queue else 0.0,
                idle=self.now - self.ran[model.name],
            )
            for model, queue in zip(self.world.models, self.queues.values(), strict=True)
        ]

    def receive(self) -> None:
        while self.coming and self.coming[0][0] <= self.now:
            at, name = self.coming.pop(0)
            self.queues[name].append(at)

    def step(self) -> bool:
        self.receive()
        states = {model.name: model for model in self.states()}
        room = ROOM - sum(states[name].bytes for name in self.resident)
        held = self.now - self.swapped
        world = self.world
        turn = next_turn(list(states.values()), room, held=held, max_wait=world.max_wait, amortise=world.amortise)
        if turn is None:
            self.now = self.coming[0][0] if self.coming else self.now
            return bool(self.coming)
        self.resident -= set(turn.evict)
        if turn.model not in self.resident:
            self.now += states[turn.model].load_seconds
            self.resident.add(turn.model)
        self.swapped = self.now if turn.evict else self.swapped
        self.unserved.append(min(self.now - self.queues[turn.model][0], self.now - self.ran[turn.model]))
        count = min(len(self.queues[turn.model]), max(1, round(world.window / world.item_seconds)))
        del self.queues[turn.model][:count]
        self.now += count * world.item_seconds
        self.ran[turn.model] = self.now
        return True


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_nobody_goes_unserved_for_longer_than_the_bound(world: World) -> None:
    run = Run(world)
    while run.step():
        states = {model.name: model for model in run.states()}
        fits = states.keys() - set(unfit(list(states.values()), ROOM - sum(states[n].bytes for n in run.resident)))
        assert all(states[name].unserved <= world.bound + 1e-6 for name in fits)
    assert all(seconds <= world.bound + 1e-6 for seconds in run.unserved)
    assert not any(queue for name, queue in run.queues.items() if name in fits)
