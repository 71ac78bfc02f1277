"""Prefetch: of which models a worker claims while others are on its device, or at another worker."""

from collections.abc import Mapping

import pytest

from headrace.broker.registry import WorkerRecord
from headrace.consumer.prefetch import PATIENCE, SETTLE, Prefetch
from headrace.engine.messages import Evicted, LoadFailed, Started
from tests.utils.clock import Clock
from tests.utils.scripted import PoolWorker

ROOM = 100


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def prefetch(worker: PoolWorker, clock: Clock) -> Prefetch:
    return Prefetch(worker.pool.supervisor.models, worker.pool.dispatcher, clock)


def _look(prefetch: Prefetch, waiting: Mapping[str, int], *elsewhere: str) -> None:
    prefetch.look(waiting, lambda: [WorkerRecord(name="cpu1", resident=elsewhere)])


def _displace(worker: PoolWorker, model: str) -> None:
    worker.load(model)
    worker.tell(Evicted(model=model))
    worker.load("resident")


def test_a_worker_that_has_nothing_claims_whatever_comes(prefetch: Prefetch) -> None:
    _look(prefetch, {"m": 1, "other": 1}, "m", "other")
    assert prefetch.allowed("m", ROOM) == prefetch.allowed("other", ROOM) == ROOM


def test_what_is_on_the_device_is_claimed_whoever_else_has_it(worker: PoolWorker, prefetch: Prefetch) -> None:
    worker.load("m")
    _look(prefetch, {"m": 1, "other": 1}, "m")
    assert prefetch.allowed("m", ROOM) == ROOM


def test_beside_work_of_others_a_model_gets_one_message(worker: PoolWorker, prefetch: Prefetch) -> None:
    worker.take("a")
    worker.load("m")
    assert prefetch.allowed("other", ROOM) == 1
    assert prefetch.allowed("other", 0) == 0
    worker.take("b", model="other")
    assert prefetch.allowed("other", ROOM) == 0


@pytest.mark.parametrize("told", [
    Started(stage="load", model="other", item_ids=[]), LoadFailed(model="other", reason="no weights"),
])  # fmt: skip
def test_what_is_loaded_or_refused_is_claimed_at_once(
    worker: PoolWorker, prefetch: Prefetch, told: Started | LoadFailed
) -> None:
    worker.take("a")
    worker.load("m")
    worker.tell(told)
    assert prefetch.allowed("other", ROOM) == ROOM


def test_a_model_that_was_never_here_is_tried_at_once_if_nobody_has_it(worker: PoolWorker, prefetch: Prefetch) -> None:
    worker.load("m")
    _look(prefetch, {"other": 1})
    assert prefetch.allowed("other", ROOM) == ROOM


def test_one_that_has_left_comes_back_once_all_have_told_what_they_have(
    worker: PoolWorker, prefetch: Prefetch, clock: Clock
) -> None:
    _displace(worker, "m")
    _look(prefetch, {"m": 0})
    clock.now += SETTLE - 0.1
    _look(prefetch, {"m": 1})
    assert prefetch.allowed("m", ROOM) == 0
    clock.now += 0.2
    assert prefetch.allowed("m", ROOM) == ROOM
    _look(prefetch, {"m": 0})
    assert prefetch.allowed("m", ROOM) == 0


def test_what_another_worker_has_is_left_to_it_as_long_as_it_keeps_up(
    worker: PoolWorker, prefetch: Prefetch, clock: Clock
) -> None:
    _displace(worker, "m")
    _look(prefetch, {"m": 1}, "m")
    clock.now += PATIENCE - 0.1
    assert prefetch.allowed("m", ROOM) == 0
    clock.now += 0.2
    assert prefetch.allowed("m", ROOM) == ROOM


def test_nobody_is_asked_for_the_others_while_nothing_waits_that_is_away(
    worker: PoolWorker, prefetch: Prefetch
) -> None:
    def never() -> list[WorkerRecord]:
        raise AssertionError

    prefetch.look({"other": 1}, never)
    worker.load("m")
    prefetch.look({"m": 1, "other": 0}, never)
