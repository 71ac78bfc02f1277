"""What runs and for how long, and when the next engine is due."""

from typing import Any

import pytest

from headrace.engine.messages import Ended, Started
from headrace.engine.slot import EngineSlot
from headrace.engine.watch import Watch, describe


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Engine:
    """Stands where a process would; the slot only starts it."""

    pid = 7

    def start(self) -> None:
        """Nothing to start."""


def _slot(clock: Clock) -> EngineSlot:
    spawn: Any = Engine
    return EngineSlot(spawn, clock)


def _started(stage: Any, *item_ids: int) -> Started:
    return Started(stage=stage, model="m", item_ids=list(item_ids))


def test_a_stage_is_overdue_once_its_limit_has_passed_and_not_before() -> None:
    clock = Clock()
    watch = Watch(clock)
    watch.started(_started("infer", 1), limit=5.0)
    clock.now += 5.0
    assert watch.overdue() is None
    clock.now += 0.1
    overdue = watch.overdue()
    assert overdue is not None
    assert overdue.item_ids == [1]


def test_what_has_ended_is_neither_overdue_nor_suspect() -> None:
    clock = Clock()
    watch = Watch(clock)
    watch.started(_started("infer", 1), limit=5.0)
    watch.started(_started("prepare", 2, 3), limit=5.0)
    watch.ended(Ended(stage="infer", model="m", seconds=0.1))
    assert [running.item_ids for running in watch] == [[2, 3]]
    assert describe(list(watch)) == "prepare of 2 m items"
    watch.clear()
    assert describe(list(watch)) == "nothing"
    clock.now += 10.0
    assert watch.overdue() is None


def test_the_first_restart_is_at_once_and_the_next_ones_wait_twice_as_long() -> None:
    clock = Clock()
    slot = _slot(clock)
    waits = []
    for _ in range(5):
        slot.fill()
        slot.empty()
        begin = clock.now
        while not slot.is_due():
            clock.now += 0.01
        waits.append(clock.now - begin)
    assert waits == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8], abs=0.02)
    assert slot.restarts == 4


def test_an_engine_that_has_answered_is_restarted_at_once_again() -> None:
    clock = Clock()
    slot = _slot(clock)
    for _ in range(4):
        slot.fill()
        slot.empty()
    slot.prove()
    slot.fill()
    slot.empty()
    assert slot.is_due()


def test_an_engine_that_is_never_ready_is_late() -> None:
    clock = Clock()
    slot = _slot(clock)
    slot.fill()
    clock.now += 59
    assert not slot.is_late()
    clock.now += 2
    assert slot.is_late()
    slot.ready = True
    assert not slot.is_late()
