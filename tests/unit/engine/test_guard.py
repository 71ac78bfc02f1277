"""MemoryGuard: batches follow the memory that there is, on a virtual device that really refuses."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from headrace.engine.guard import MemoryGuard
from headrace.hardware.virtual import VirtualMemory, VirtualMeter, write_virtual
from headrace.memory.allowance import Allowance
from headrace.memory.shape import Shape
from headrace.memory.trials import Trials
from headrace.sdk import BaseConfig, Device, ModelPluginInterface, Outcome, Prepared

MIB = 2**20


class Eater(ModelPluginInterface):
    """Takes bytes for each item, and for each pair of the longest item's units."""

    def __init__(self, per_unit: int = MIB, per_pair: int = 0) -> None:
        self.initialize(BaseConfig(), Device("cpu"))
        self.per_unit, self.per_pair = per_unit, per_pair
        #: Sizes of each call that was begun, and of each that ended well.
        self.begun: list[list[int]] = []
        self.done: list[list[int]] = []
        #: Called with a call's number as it begins, with its memory taken.
        self.on_call = lambda _: None

    def load_model(self) -> None:
        """Nothing to load."""

    def cleanup(self) -> None:
        """Nothing to free."""

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        sizes = [item.size for item in batch]
        self.begun.append(sizes)
        padded = len(sizes) * max(sizes)
        held = torch.empty(padded * self.per_unit + padded * max(sizes) * self.per_pair, dtype=torch.uint8)
        self.on_call(len(self.begun))
        more = torch.empty(MIB, dtype=torch.uint8)
        del held, more
        self.done.append(sizes)
        return [Outcome(output=item.data) for item in batch]


class Bench:
    """A guard, its device, and what runs on it."""

    def __init__(self, path: Path, *, total: int = 100 * MIB) -> None:
        self.path, self.total = path, total
        self.others(0)
        self.memory = VirtualMemory(path)
        self.evicted = 0
        self.meter = VirtualMeter(self.memory, Device("cpu"), 1.0)
        #: Where batches are noted of which the process may die.
        self.notes = path.with_name("costs")
        trials = Trials(self.notes, "m")
        self.guard = MemoryGuard(self.meter, Allowance(time.monotonic), make_room=self._make_room, trials=trials)

    def others(self, count: int) -> None:
        write_virtual(self.path, total=self.total, others=count)

    def _make_room(self, needed: int) -> None:
        self.evicted += 1

    def run(self, plugin: Eater, sizes: Sequence[int]) -> list[Outcome]:
        """As BatchExecutor does it."""
        items = [Prepared(size=size, data=number) for number, size in enumerate(sizes)]
        answered: dict[int, Outcome] = {}
        while len(answered) < len(items):
            left = [number for number in range(len(items)) if number not in answered]
            planned = self.guard.plan([sizes[number] for number in left], plugin.config)
            for count, batch in enumerate([[left[each] for each in batch] for batch in planned]):
                if count and self.guard.outdated([sizes[number] for number in batch]):
                    break
                outcomes = self.guard.infer(plugin, [items[number] for number in batch])
                answered |= dict(zip(batch, outcomes, strict=True))
        return [answered[number] for number in range(len(items))]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "memory")
    with bench.memory.enforce():
        yield bench


def _codes(outcomes: Sequence[Outcome]) -> list[str | None]:
    return [outcome.error.code if outcome.error else None for outcome in outcomes]


def test_batches_grow_to_what_the_device_takes_and_none_fails(bench: Bench) -> None:
    plugin = Eater()
    outcomes = bench.run(plugin, [1] * 600)
    assert [outcome.output for outcome in outcomes] == list(range(600))
    assert max(map(len, plugin.done)) >= 75
    bench.run(plugin, [1] * 1200)
    assert plugin.begun == plugin.done
    assert max(map(len, plugin.done)) >= 90
    assert bench.guard.failures == 0


def test_what_grows_by_the_square_is_found_out_before_it_fails(bench: Bench) -> None:
    plugin = Eater(per_unit=1000, per_pair=2000)
    sizes = [1 + (number * 37) % 100 for number in range(400)]
    assert _codes(bench.run(plugin, sizes)) == [None] * 400
    assert bench.guard.failures <= 2
    bench.run(plugin, sizes)
    assert bench.guard.failures <= 2


def test_others_that_take_memory_shrink_the_next_batch_and_their_leaving_grows_it(bench: Bench) -> None:
    plugin = Eater()
    bench.run(plugin, [1] * 600)
    for others, least, most in ((80 * MIB, 12, 20), (0, 80, 100)):
        bench.others(others)
        plugin.done.clear()
        bench.run(plugin, [1] * 120)
        assert least <= max(map(len, plugin.done)) <= most
    assert bench.guard.failures == 0


def test_a_load_beside_batches_teaches_nothing_and_leaves_its_reserve_alone(bench: Bench) -> None:
    plugin = Eater()
    bench.run(plugin, [1] * 600)
    known, sample = bench.guard.allowance.bound(Shape(50, 50, 1)), bench.guard.allowance.memory.samples
    bench.meter.reserve(60 * MIB)
    plugin.done.clear()
    loaded: list[torch.Tensor] = []
    plugin.on_call = lambda _: loaded.append(torch.empty(5 * MIB, dtype=torch.uint8)) if len(loaded) < 9 else None
    assert _codes(bench.run(plugin, [1] * 400)) == [None] * 400
    assert max(map(len, plugin.done)) <= 40
    assert bench.guard.failures == 0
    assert (bench.guard.allowance.bound(Shape(50, 50, 1)), bench.guard.allowance.memory.samples) == (known, sample)


def test_memory_that_ends_beside_a_load_is_held_against_no_batch(bench: Bench) -> None:
    plugin = Eater()
    bench.run(plugin, [1] * 600)
    bench.meter.reserve(MIB)
    # The load takes far more than was reserved.
    loaded: list[torch.Tensor] = []
    plugin.on_call = lambda _: loaded.append(torch.empty(30 * MIB, dtype=torch.uint8)) if not loaded else None
    bound = bench.guard.allowance.bound(Shape(90, 90, 1))
    assert _codes(bench.run(plugin, [1] * 90)) == [None] * 90
    assert bench.guard.failures >= 1
    assert bench.guard.allowance.bound(Shape(90, 90, 1)) == bound


def test_others_that_take_memory_while_a_batch_runs_cost_a_retry_and_no_item(bench: Bench) -> None:
    plugin = Eater()
    bench.run(plugin, [1] * 600)
    begun = len(plugin.begun)
    plugin.on_call = lambda number: bench.others(70 * MIB) if number == begun + 1 else None
    assert _codes(bench.run(plugin, [1] * 90)) == [None] * 90
    assert bench.guard.failures == 1, "halves that do not fit either are not run"
    plugin.on_call = lambda _: None
    bench.others(0)
    plugin.done.clear()
    bench.run(plugin, [1] * 200)
    assert max(map(len, plugin.done)) >= 80, "what others did is not held against the model"


def test_an_item_that_alone_does_not_fit_fails_alone_and_says_what_it_needed(bench: Bench) -> None:
    plugin = Eater()
    outcomes = bench.run(plugin, [2, 500, 3])
    assert _codes(outcomes) == [None, "out_of_memory", None]
    error = outcomes[1].error
    assert "needs 500.0 MiB or more, and 100.0 MiB of 100 were free" in str(error)
    assert error is not None
    assert not error.retryable
    assert bench.evicted == 1
    assert bench.memory.held == 0


def test_an_item_that_would_fit_if_others_left_may_be_tried_again(bench: Bench) -> None:
    bench.others(60 * MIB)
    (outcome,) = bench.run(Eater(), [50])
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.retryable) == ("out_of_memory", True)


def test_an_item_that_eats_without_limit_is_not_held_against_the_others(bench: Bench) -> None:
    class Poisoned(Eater):
        def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
            if any(item.data == 7 for item in batch) and self.poison:
                torch.empty(2**50, dtype=torch.uint8)
            return super().infer(batch)

    plugin = Poisoned()
    plugin.poison = False
    bench.run(plugin, [1] * 600)
    plugin.poison = True
    codes = _codes(bench.run(plugin, [1] * 64))
    assert [number for number, code in enumerate(codes) if code] == [7]
    plugin.done.clear()
    plugin.poison = False
    bench.run(plugin, [1] * 200)
    assert max(map(len, plugin.done)) >= 80


def test_an_allocator_that_fails_far_below_what_the_device_tells_is_learned(bench: Bench) -> None:
    class Limited(Eater):
        """As under a limit of the address space, of which the device does not know."""

        def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
            if len(batch) > 20:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 30000000 bytes.")
            return super().infer(batch)

    plugin = Limited()
    assert _codes(bench.run(plugin, [1] * 300)) == [None] * 300
    failures = bench.guard.failures
    assert 1 <= failures <= 8
    plugin.done.clear()
    bench.run(plugin, [1] * 300)
    assert bench.guard.failures - failures <= 3
    assert max(map(len, plugin.done)) >= 10


def test_other_exceptions_are_bisected_as_ever_and_teach_nothing(bench: Bench) -> None:
    class Picky(Eater):
        def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
            if any(item.data == 3 for item in batch):
                raise ValueError("three")
            return super().infer(batch)

    outcomes = bench.run(Picky(), [1] * 30)
    assert [number for number, code in enumerate(_codes(outcomes)) if code] == [3]
    assert bench.guard.failures == 0


def test_batches_that_take_next_to_nothing_are_measured_now_and_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.total = 10_000 * MIB
    bench.others(0)
    plugin = Eater()
    bench.run(plugin, [1] * 64)
    bench.guard.plan([1], plugin.config)
    for _ in range(16):
        bench.guard.infer(plugin, [Prepared(size=1)])
    watched: list[bool] = []
    monkeypatch.setattr(VirtualMeter, "begin", lambda _, *, exactly: watched.append(exactly))
    for _ in range(8):
        bench.guard.infer(plugin, [Prepared(size=1)])
    assert len(watched) <= 1


def test_memory_that_ends_in_a_batch_nobody_watched_is_told_by_what_was_tried(bench: Bench) -> None:
    bench.total = 10_000 * MIB
    bench.others(0)
    plugin = Eater()
    for _ in range(17):
        bench.run(plugin, [1] * 4)
    # Planned for what there was: another process takes all but little of it.
    bench.others(bench.total - 3 * MIB)
    assert [outcome.error for outcome in bench.guard.infer(plugin, [Prepared(size=1, data=0)] * 4)] == [None] * 4
    assert bench.guard.failures == 1


def test_only_a_batch_larger_than_all_before_it_is_noted_while_it_runs(bench: Bench) -> None:
    plugin, noted = Eater(), []
    plugin.on_call = lambda _: noted.append(len(list(bench.notes.glob("*"))))
    for sizes in ([1], [1, 1], [1, 1], [1], [2], [1, 2], [1, 2], [1, 1, 1]):
        bench.guard.infer(plugin, [Prepared(size=size) for size in sizes])
    assert noted == [0, 1, 0, 0, 0, 1, 0, 0]
    assert list(bench.notes.iterdir()) == []


def test_a_batch_that_raises_has_not_succeeded_and_leaves_no_note(bench: Bench) -> None:
    plugin, noted = Eater(), []

    def fail_twice(call: int) -> None:
        noted.append(len(list(bench.notes.glob("*"))))
        if call in {1, 4}:
            raise ValueError("told to")

    plugin.on_call = fail_twice
    for _ in range(2):
        bench.guard.infer(plugin, [Prepared(size=1)] * 2)
    assert noted == [1, 0, 0, 1, 0, 0]
    assert list(bench.notes.iterdir()) == []
