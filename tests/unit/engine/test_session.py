"""Sessions and their caches, without an engine: leaving the device, and a memory that becomes another."""

from pathlib import Path

from headrace.engine.batch import Entry
from headrace.engine.cache_budget import CacheBudget
from headrace.engine.guard import MemoryGuard
from headrace.engine.outcomes import Report
from headrace.engine.resident import Resident
from headrace.engine.session import Session
from headrace.hardware.virtual import VirtualMemory, VirtualMeter, write_virtual
from headrace.memory.allowance import Allowance
from headrace.memory.store import CostKey
from headrace.sdk import Device
from headrace.sdk.messages import Item
from tests.utils.clock import Clock
from tests.utils.counters import Counter
from tests.utils.windows import window_of

KEY = CostKey(model="m", version="1", device="d", config="")


class World:
    """A counter on a device of so many bytes, of which it has its cache."""

    def __init__(self, total: int | Path) -> None:
        self.plugin, self.memory = Counter(), VirtualMemory(total)
        self.meter = VirtualMeter(self.memory, Device("cpu"), 1.0)
        self.asked: list[int] = []
        guard = MemoryGuard(self.meter, Allowance(Clock()), make_room=self.asked.append)
        resident = Resident(plugin=self.plugin, guard=guard, key=KEY, load_seconds=0.0, used_at=0.0, kept_at=0.0)
        self.budget = CacheBudget(resident, self.plugin, self.meter, Clock())
        report = Report(lambda _: None)
        self.session = Session("m", resident, self.plugin, self.budget, report=report, cancelled=set())

    def join(self, *values: str) -> None:
        """Begin items."""
        window = window_of(*enumerate(values))
        prepared = self.plugin.prepare([Item(input=value) for value in values])
        entries = [Entry(item_id=number, prepared=each) for number, each in enumerate(prepared)]
        self.session.join([window], entries)

    def fit(self) -> int:
        """The cache's bytes after another look at the memory."""
        self.budget.fit()
        self.memory.held = self.plugin.cache.held
        return self.plugin.cache.held


def test_what_has_no_outcome_when_the_model_leaves_goes_back_as_it_came() -> None:
    world = World(1000)
    world.join("a 1", "b 9")
    steps = iter([False, True])
    world.session.run(lambda: next(steps))
    (window,) = world.session.suspend()
    assert [item[:2] for item in window.items] == [(1, "b 9")]
    assert not world.plugin.progress
    assert world.session.item_ids == []


def test_a_cache_has_what_is_wanted_and_leaves_a_share_for_a_step_while_none_was_measured() -> None:
    world = World(1000)
    world.join("a 9 100", "b 9 100")
    assert world.fit() == 200
    world.join("c 9 900")
    assert world.fit() == 900
    assert world.asked == []


def test_a_cache_shrinks_when_others_take_the_memory_and_grows_again_when_they_have_gone(tmp_path: Path) -> None:
    told = tmp_path / "memory"
    write_virtual(told, total=1000)
    world = World(told)
    world.join("a 9 400", "b 9 400")
    assert world.fit() == 800
    write_virtual(told, total=1000, others=500)
    for _ in range(8):
        shrunk = world.fit()
    assert 250 < shrunk <= 450
    write_virtual(told, total=1000)
    assert world.fit() == 800


def test_others_are_asked_to_leave_only_for_one_that_does_not_fit_alone() -> None:
    world = World(1000)
    world.join("giant 9 5000")
    world.fit()
    assert world.asked == [5000 - 900]


def test_a_cache_that_is_far_too_large_shrinks_and_goes_when_nothing_is_left() -> None:
    world = World(1000)
    world.join("a 2 400", "b 9 20")
    world.fit()
    steps = iter([False, False, True])
    world.session.run(lambda: next(steps))
    assert world.fit() == 20
    world.session.suspend()
    world.session.rest()
    assert world.plugin.cache.held == 0


def test_after_memory_has_ended_more_is_left_for_a_step() -> None:
    world = World(1000)
    world.join("a 9 2000")
    before = world.fit()
    world.budget.ended()
    assert world.plugin.cache.held < before
