"""EngineSlot: whether there is an engine, and when the next one is due."""

import pytest

from headrace.engine.slot import EngineSlot
from tests.utils.clock import Clock
from tests.utils.engines import Engines


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.fixture
def slot(engines: Engines, clock: Clock) -> EngineSlot:
    return EngineSlot(engines, clock)


def _seconds_until_due(slot: EngineSlot, clock: Clock) -> float:
    begin = clock.now
    while not slot.is_due():
        clock.now += 0.01
        assert clock.now < begin + 60
    return clock.now - begin


def test_an_empty_slot_is_due_and_a_full_one_is_not(slot: EngineSlot) -> None:
    assert (slot.pid, slot.is_due()) == (None, True)
    engine = slot.fill()
    assert slot.engine is engine
    assert (slot.pid, slot.is_due()) == (engine.pid, False)


def test_the_first_restart_is_at_once_and_the_next_ones_wait_twice_as_long(slot: EngineSlot, clock: Clock) -> None:
    waits = []
    for _ in range(9):
        slot.fill()
        slot.empty()
        waits.append(_seconds_until_due(slot, clock))
    assert waits == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0], abs=0.02)
    assert slot.restarts == 8


def test_an_engine_that_has_answered_is_restarted_at_once_again(slot: EngineSlot) -> None:
    for _ in range(4):
        slot.fill()
        slot.empty()
    assert not slot.is_due()
    slot.prove()
    slot.fill()
    slot.empty()
    assert slot.is_due()


def test_a_spawn_that_failed_is_never_tried_again_at_once(slot: EngineSlot, clock: Clock, engines: Engines) -> None:
    engines.refusals = 3
    waits = []
    while engines.refusals:
        with pytest.raises(OSError, match="no memory"):
            slot.fill()
        slot.postpone()
        waits.append(_seconds_until_due(slot, clock))
    assert waits == pytest.approx([0.1, 0.1, 0.2], abs=0.02)
    slot.fill()
    assert slot.restarts == 0


def test_an_engine_that_is_never_ready_is_late(slot: EngineSlot, clock: Clock) -> None:
    slot.fill()
    clock.now += 60
    assert not slot.is_late()
    clock.now += 1
    assert slot.is_late()
    slot.ready = True
    assert not slot.is_late()


def test_no_engine_is_not_a_late_one(slot: EngineSlot, clock: Clock) -> None:
    clock.now += 1000
    assert not slot.is_late()


@pytest.mark.parametrize("ready", [True, False])
def test_an_emptied_slot_tells_once_whether_its_engine_was_ready(slot: EngineSlot, *, ready: bool) -> None:
    slot.fill()
    slot.ready = ready
    assert slot.empty() is ready
    assert not slot.ready
    assert slot.engine is None


def test_the_next_engine_is_not_ready_because_the_last_one_was(slot: EngineSlot) -> None:
    slot.fill()
    slot.ready = True
    slot.fill()
    assert not slot.ready


def test_an_engine_that_is_ended_on_purpose_is_replaced_at_once_however_often(slot: EngineSlot) -> None:
    for _ in range(4):
        slot.fill()
        slot.replace()
        assert (slot.engine, slot.ready, slot.is_due(), slot.restarts) == (None, False, True, 0)
    slot.fill()
    slot.empty()
    slot.fill()
    assert slot.restarts == 1
