"""Residency: models come and go by the room that there is, on a virtual device."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from headrace.engine.residency import Residency
from headrace.engine.shortfall import too_large
from headrace.errors import ModelTooLarge, SetupFailed
from headrace.hardware.virtual import VirtualMemory
from headrace.plugins.manager import RETRY_AFTER
from headrace.sdk import Prepared
from tests.utils.residents import MIB, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with world.memory.enforce():
        yield world


def test_a_model_that_fits_beside_the_others_moves_nobody(world: World) -> None:
    assert world.residency.load("a").weights == 30 * MIB
    assert world.residency.load("b").weights == 40 * MIB
    assert world.evicted == []
    assert world.memory.held == 70 * MIB


def test_the_longest_unused_make_room_and_no_more_of_them_than_needed(tmp_path: Path) -> None:
    time = [0.0]
    world = World(tmp_path, clock=lambda: time[0])
    with world.memory.enforce():
        world.residency.load("a")
        time[0] = 1.0
        world.residency.load("b")
        time[0] = 2.0
        assert world.residency.get("a") is not None
        world.residency.load("c")
    assert world.evicted == ["b"]
    assert world.log[2:] == ["quiesce", "cleanup b", "load c"]
    assert world.residency.get("b") is None


def test_a_pinned_model_stays(tmp_path: Path) -> None:
    world = World(tmp_path, pinned="a")
    with world.memory.enforce():
        world.residency.load("a")
        world.residency.load("b")
        world.residency.load("c")
    assert world.evicted == ["b"]


def test_a_model_that_does_not_say_how_large_it_is_gets_room_when_it_fails(world: World) -> None:
    world.residency.load("b")
    assert world.residency.load("coy").weights == 60 * MIB
    assert world.evicted == ["b"]
    assert world.memory.held == 60 * MIB


def test_how_large_it_was_is_known_the_next_time(world: World) -> None:
    world.residency.load("coy")
    world.residency.evict("coy")
    world.residency.load("c")
    world.log.clear()
    world.residency.load("coy")
    assert world.log == ["quiesce", "cleanup c", "load coy"]


def test_a_model_that_no_eviction_can_help_is_refused_in_one_sentence_and_moves_nobody(world: World) -> None:
    world.residency.load("a")
    said = r"giant does not fit: its weights take 200\.0 MiB, and at most 100\.0 MiB of 100 can be free for it; use"
    with pytest.raises(ModelTooLarge, match=said) as caught:
        world.residency.load("giant")
    assert (caught.value.code, caught.value.retryable) == ("model_too_large", False)
    assert world.residency.resident == ["a"]
    assert world.memory.held == 30 * MIB


def test_what_batches_cost_is_measured_after_loading_and_known_the_next_time(world: World) -> None:
    guard = world.residency.load("a").guard
    assert guard.allowance.memory.samples >= 6
    world.residency.evict("a")
    learned = world.residency.load("a").guard.allowance.memory
    assert learned.kept
    assert world.log.count("load a") == 2


def test_closing_keeps_costs_and_cleans_up_the_last_loaded_first(world: World) -> None:
    world.residency.load("a")
    world.residency.load("b")
    world.residency.close()
    assert world.log[2:] == ["cleanup b", "cleanup a"]
    assert len(list((world.store._folder).iterdir())) == 2


def _refusal(residency: Residency, model: str) -> str:
    with pytest.raises(ModelTooLarge) as caught:
        residency.load(model)
    return str(caught.value)


def test_a_load_for_which_memory_ends_is_refused_with_what_it_had_and_wanted(tmp_path: Path) -> None:
    world = World(tmp_path, pinned="c")
    with world.memory.enforce():
        world.residency.load("c")
        told = _refusal(world.residency, "coy")
        assert "loading it takes 60.0 MiB or more, and at most 50.0 MiB of 100 can be free for it while c is" in told
        # It is the same error until the load is tried again.
        assert _refusal(world.residency, "coy") == told
    assert world.memory.held == 50 * MIB


def test_two_that_are_pinned_and_do_not_fit_together_are_one_that_runs_and_one_that_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, pinned="c coy b")
    with world.memory.enforce():
        world.residency.load("c")
        world.residency.load("b")
        assert "while c and b are pinned" in _refusal(world.residency, "coy")
        assert world.residency.refuses("coy")
    assert world.evicted == []


def test_nobody_leaves_for_a_load_that_needs_more_than_that_would_give(world: World) -> None:
    world.residency.load("a")
    assert "loading it takes 120.0 MiB or more" in _refusal(world.residency, "shy")
    assert world.residency.resident == ["a"]


def test_others_leave_once_for_a_load_that_fails_and_not_again_for_the_next_ones(tmp_path: Path) -> None:
    time = [0.0]
    world = World(tmp_path, clock=lambda: time[0])
    with world.memory.enforce():
        world.residency.load("a")
        assert "loading it takes 120.0 MiB or more" in _refusal(world.residency, "steps")
        assert world.evicted == ["a"]
        assert world.log.count("load steps") == 2
        for _ in range(3):
            world.residency.load("a")
            time[0] += RETRY_AFTER
            _refusal(world.residency, "steps")
        assert world.evicted == ["a"]
        assert world.log.count("load steps") == 2
        assert world.memory.held == 30 * MIB


def test_what_others_than_models_hold_is_hoped_for_once(tmp_path: Path) -> None:
    time = [0.0]
    world = World(tmp_path, clock=lambda: time[0])
    with world.memory.enforce():
        world.residency.load("a")
        # A library's, say.
        cache = torch.empty(40 * MIB, dtype=torch.uint8)
        for _ in range(3):
            assert "at most 60.0 MiB of 100" in _refusal(world.residency, "large")
            time[0] += RETRY_AFTER
            world.residency.load("a")
        assert world.evicted == ["a"]
        assert cache.nbytes == world.memory.held - 30 * MIB


def test_nobody_leaves_for_a_model_whose_load_has_failed_just_now(world: World) -> None:
    with pytest.raises(SetupFailed):
        world.residency.load("broken")
    world.residency.load("a")
    for _ in range(2):
        assert world.residency.refuses("broken")
        with pytest.raises(SetupFailed, match="no such file"):
            world.residency.load("broken", evict=["a"])
    assert world.residency.resident == ["a"]


def test_nobody_leaves_for_a_made_up_batch_if_a_smaller_one_fits(world: World) -> None:
    world.residency.load("a")
    assert world.residency.load("tight").guard.allowance.memory.samples
    assert world.evicted == []


def test_a_model_whose_costs_cannot_be_measured_leaves_nothing_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no such disk")

    monkeypatch.setattr(world.store, "trials", fail)
    with pytest.raises(OSError, match="no such disk"):
        world.residency.load("a")
    monkeypatch.undo()
    assert world.memory.held == 0
    assert world.residency.load("a").weights == 30 * MIB


def test_what_a_model_will_take_is_expected_before_its_first_load(world: World) -> None:
    assert not world.residency.prospects.knows("c")
    world.residency.expect("c")
    world.residency.expect("coy")
    assert world.residency.prospects.takes("c") == 50 * MIB
    assert world.residency.prospects.facts("coy").weights == 0
    assert world.log == []


def test_what_it_took_in_an_earlier_run_is_expected_too_and_how_long_its_load_took(tmp_path: Path) -> None:
    time = iter(range(100))
    first = World(tmp_path, clock=lambda: float(next(time)))
    with first.memory.enforce():
        seconds = first.residency.load("coy").load_seconds
        first.residency.close()
    second = World(tmp_path)
    second.residency.expect("coy")
    facts = second.residency.prospects.facts("coy")
    assert (facts.weights, facts.load_seconds) == (60 * MIB, seconds)
    assert second.residency.prospects.takes("coy") > 60 * MIB


def test_made_up_batches_do_not_count_as_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time = [0.0]

    def spend(*_: object) -> None:
        time[0] += 7.0

    monkeypatch.setattr("headrace.engine.records.rehearse", spend)
    world = World(tmp_path, clock=lambda: time[0])
    with world.memory.enforce():
        assert world.residency.load("a").load_seconds == 0.0


def test_an_expectation_that_fails_is_none(world: World) -> None:
    world.residency.expect("nobody")
    assert world.residency.prospects.knows("nobody")
    assert world.residency.prospects.takes("nobody") == 0


def test_a_refusal_is_true_whatever_is_unknown() -> None:
    told = str(too_large("m", weights=0, needed=0, obtainable=0, total=0))
    assert told == (
        "model m does not fit: memory ended while it was loaded, and less can be free for it; "
        "use a larger device, a smaller dtype, or end what else uses it"
    )


@pytest.mark.parametrize(("needed", "left"), [(50, ["a"]), (200, ["a", "b"])])
def test_others_leave_for_a_large_item_unless_that_would_not_do(world: World, needed: int, left: list[str]) -> None:
    residency = world.residency
    resident = residency.load("a")
    residency.load("b")
    (outcome,) = resident.guard.infer(resident.plugin, [Prepared(size=needed * MIB // 1000)])
    assert (outcome.error is None) == (left == ["a"])
    assert residency.resident == left


def _begin(world: World, model: str) -> bool:
    arrivals = world.residency.arrivals
    world.residency.expect(model)
    return arrivals.begin(model, within=nullcontext, then=lambda: None, land_now=lambda: _note(world, arrivals.land()))


def _note(world: World, landed: object) -> None:
    world.log.append("landed" if landed else "not landed")


def test_a_model_arrives_beside_others_only_if_nobody_need_leave_and_its_size_is_known(world: World) -> None:
    assert not _begin(world, "a")
    world.residency.load("a")
    assert not _begin(world, "coy")
    # 60 MiB, and a quarter more in case that the estimate is wrong: there are 70.
    assert not _begin(world, "large")
    assert _begin(world, "b")
    assert not _begin(world, "broken")
    landed = world.residency.arrivals.land()
    assert landed is not None
    assert (landed.weights, world.residency.resident) == (40 * MIB, ["a", "b"])
    assert world.residency.arrivals.land() is None


def test_an_item_that_needs_the_room_of_a_load_beside_it_waits_and_gets_it(world: World) -> None:
    resident = world.residency.load("a")
    assert _begin(world, "b")
    # It has its memory, and was not taken in.
    world.residency.arrivals.loader.wait()
    (outcome,) = resident.guard.infer(resident.plugin, [Prepared(size=50 * MIB // 1000)])
    assert outcome.error is None
    assert world.log[-3:] == ["landed", "quiesce", "cleanup b"]


def test_a_device_that_does_not_tell_what_it_has_refuses_nothing_and_nobody_leaves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.residency.load("a")
    monkeypatch.setattr(VirtualMemory, "total", 0)
    assert not world.residency.refuses("large")
    monkeypatch.setattr(VirtualMemory, "take", lambda *_: None)
    world.residency.load("b")
    assert world.residency.resident == ["a", "b"]
