"""Bootsteps: what the worker tells of itself, when it starts, while it runs and when it stops."""

import json
import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.asynchronous import Hub

from headrace.broker.connection import connect
from headrace.broker.registry import BEAT_SECONDS, Registry, WorkerRecord
from headrace.consumer.pool import BatchPool
from headrace.consumer.prefetch import PATIENCE, Prefetch
from headrace.consumer.steps import Announce, EngineInfo
from headrace.engine.messages import Loaded
from headrace.engine.states import ModelStates
from headrace.settings import Settings
from tests.utils.clock import Clock
from tests.utils.requests import Desk

MANIFESTS = {"other": {"name": "other"}, "m": {"name": "m"}}


def _loaded(max_batch_tokens: int | None) -> Loaded:
    return Loaded(model="m", seconds=1.0, max_batch_size=8, max_batch_tokens=max_batch_tokens, batch_time_limit=30.0)


def _consumer(registry: Registry) -> Any:
    supervisor = SimpleNamespace(restarts=3, models=ModelStates())
    dispatcher: Any = None
    prefetch = Prefetch(supervisor.models, dispatcher)
    pool = SimpleNamespace(
        device="cpu:0", resident=["m"], supervisor=supervisor, dispatcher=dispatcher, prefetch=prefetch
    )
    app = SimpleNamespace(headrace_registry=registry, headrace_manifests=MANIFESTS)
    hub: Any = Hub()
    return SimpleNamespace(app=app, pool=pool, hostname="cpu0", timer=hub.timer)


@pytest.fixture
def nobody() -> Registry:
    """A registry whose Redis is away."""
    return Registry(connect("redis://127.0.0.1:1/0", Settings()))


def test_a_worker_that_starts_is_known_at_once_with_its_models(desk: Desk) -> None:
    registry = Registry(desk.redis)
    consumer = _consumer(registry)
    Announce(consumer).start(consumer)
    assert registry.models() == MANIFESTS
    (record,) = registry.workers()
    assert (record.name, record.device) == ("cpu0", "cpu:0")
    assert (record.models, record.resident, record.engine_restarts) == (["m", "other"], ["m"], 3)


def test_it_gives_signs_of_life_with_what_is_resident_by_then(desk: Desk) -> None:
    registry = Registry(desk.redis)
    consumer = _consumer(registry)
    Announce(consumer).start(consumer)
    desk.redis.flushdb()
    consumer.pool.resident = ["m", "other"]
    (beat,) = consumer.timer.queue
    assert beat.eta - time.monotonic() == pytest.approx(BEAT_SECONDS, abs=1.0)
    beat.entry()
    assert len(consumer.timer.queue) == 2  # the one that was due, and the next
    (record,) = registry.workers()
    assert record.resident == ["m", "other"]


def test_a_worker_that_stops_is_withdrawn_and_beats_no_more(desk: Desk) -> None:
    registry = Registry(desk.redis)
    consumer = _consumer(registry)
    step = Announce(consumer)
    step.start(consumer)
    step.stop(consumer)
    assert registry.workers() == []
    assert registry.models() == MANIFESTS
    assert all(entry.entry.canceled for entry in consumer.timer.queue)


def test_a_worker_that_never_started_can_stop(desk: Desk) -> None:
    consumer = _consumer(Registry(desk.redis))
    Announce(consumer).stop(consumer)


def test_a_redis_that_is_away_stops_neither_the_beat_nor_the_shutdown(
    desk: Desk, nobody: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = _consumer(Registry(desk.redis))
    step = Announce(consumer)
    step.start(consumer)
    consumer.app.headrace_registry = nobody
    with caplog.at_level(logging.WARNING):
        consumer.timer.queue[0].entry()
        step.stop(consumer)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "no sign of life could be given", "could not withdraw from the registry",
    ]  # fmt: skip


def test_models_that_a_redis_refused_are_published_with_a_later_beat(desk: Desk) -> None:
    registry = Registry(desk.redis)
    consumer = _consumer(registry)
    desk.redis.config_set("maxmemory", "1")
    Announce(consumer).start(consumer)
    desk.redis.config_set("maxmemory", "0")
    assert registry.models() == {}
    consumer.timer.queue[0].entry()
    assert registry.models() == MANIFESTS


@pytest.mark.parametrize(("tokens", "limit"), [(4096, "m: 8 items, 4096 units"), (None, "m: 8 items, auto units")])
def test_inspect_shows_the_device_and_what_is_on_it(desk: Desk, tokens: int | None, limit: str) -> None:
    pool = BatchPool(app=desk.app)
    pool.supervisor.models.note(_loaded(tokens))
    info = EngineInfo(SimpleNamespace()).info(SimpleNamespace(pool=pool))
    assert (info["headrace_device"], info["headrace_resident_models"]) == ("cpu:0", "m")
    assert info["headrace_batch_limit"] == limit
    assert 0 < info["headrace_free_bytes"] <= info["headrace_total_bytes"]
    assert info["headrace_engine_pid"] is None


def test_what_inspect_shows_is_flat_and_json(desk: Desk) -> None:
    info = EngineInfo(SimpleNamespace()).info(SimpleNamespace(pool=BatchPool(app=desk.app)))
    assert not any(isinstance(value, list | dict) for value in info.values())
    assert json.loads(json.dumps(info)) == info


def test_a_beat_sees_what_waits_and_which_models_the_others_have(desk: Desk) -> None:
    registry = Registry(desk.redis)
    registry.beat(WorkerRecord(name="cpu1", models=["m", "other"], resident=["other"]))
    desk.send("waits", model="other")
    pool, clock = BatchPool(app=desk.app), Clock()
    pool.supervisor.models.note(_loaded(None))
    pool.prefetch = Prefetch(pool.supervisor.models, pool.dispatcher, clock)
    consumer = _consumer(registry)
    consumer.pool = pool
    Announce(consumer).start(consumer)
    clock.now += PATIENCE - 0.1
    assert pool.room("infer.other") == 0
    clock.now += 0.2
    assert pool.room("infer.other") == 1
