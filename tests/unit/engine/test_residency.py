"""Residency: models come and go by the room that there is, on a virtual device."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.errors import SetupFailed
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
    world.residency.load("coy")
    assert world.evicted == ["b"]
    assert world.memory.held == 60 * MIB


def test_how_large_it_was_is_known_the_next_time(world: World) -> None:
    world.residency.load("coy")
    world.residency.evict("coy")
    world.residency.load("c")
    world.log.clear()
    world.residency.load("coy")
    assert world.log == ["quiesce", "cleanup c", "load coy"]


def test_a_model_that_no_eviction_can_help_is_refused_in_one_sentence(world: World) -> None:
    world.residency.load("a")
    with pytest.raises(SetupFailed, match=r"giant does not fit: its weights take .*, and 100\.0 MiB of 100 are free"):
        world.residency.load("giant")
    assert world.memory.held == 0
    assert world.residency.load("a").weights == 30 * MIB


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
