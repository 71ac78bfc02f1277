"""Registry: models stay known, workers only while they give signs of life."""

from typing import Any

import pytest
import redis

from headrace.broker.registry import BEAT_SECONDS, SILENCE_SECONDS, Registry, WorkerRecord


@pytest.fixture
def registry(client: redis.Redis) -> Registry:
    return Registry(client)


def _record(name: str, **changes: Any) -> WorkerRecord:
    values: dict[str, Any] = {"device": "cpu:0", "models": ["mill"], "resident": []}
    return WorkerRecord(name=name, **values | changes)


def _names(registry: Registry) -> list[str]:
    return sorted(worker.name for worker in registry.workers())


def test_an_empty_registry_knows_nobody(registry: Registry) -> None:
    assert registry.models() == {}
    assert registry.workers() == []


def test_published_models_add_up_and_the_last_manifest_counts(registry: Registry) -> None:
    registry.publish({"mill": {"version": "1"}, "weir": {"version": "1", "task": "mülle"}})
    registry.publish({"mill": {"version": "2"}})
    assert registry.models() == {"mill": {"version": "2"}, "weir": {"version": "1", "task": "mülle"}}


def test_a_worker_without_models_publishes_nothing(registry: Registry, client: redis.Redis) -> None:
    registry.publish({})
    assert client.keys("*") == []


def test_a_worker_is_known_as_it_described_itself_last(registry: Registry) -> None:
    registry.beat(_record("one"))
    registry.beat(_record("two", device="cuda:1"))
    registry.beat(_record("one", resident=["mill"]))
    assert sorted(registry.workers(), key=lambda worker: worker.name) == [
        _record("one", resident=["mill"]),
        _record("two", device="cuda:1"),
    ]


def test_a_sign_of_life_outlasts_some_missed_beats_and_no_more(registry: Registry, client: redis.Redis) -> None:
    registry.beat(_record("one"))
    left: Any = client.pttl("headrace:worker:one")
    assert 3 * BEAT_SECONDS < left / 1000 <= SILENCE_SECONDS


def test_a_silent_worker_is_gone_and_forgotten(registry: Registry, client: redis.Redis) -> None:
    registry.beat(_record("silent"))
    registry.beat(_record("alive"))
    client.pexpire("headrace:worker:silent", 0)
    assert _names(registry) == ["alive"]
    assert client.smembers("headrace:workers") == {b"alive"}
    registry.beat(_record("silent"))
    assert _names(registry) == ["alive", "silent"]


def test_a_worker_that_withdraws_is_gone_at_once(registry: Registry, client: redis.Redis) -> None:
    registry.beat(_record("one"))
    registry.beat(_record("two"))
    registry.withdraw("one")
    registry.withdraw("never there")
    assert client.smembers("headrace:workers") == {b"two"}
    assert _names(registry) == ["two"]
    assert not client.exists("headrace:worker:one")


def test_a_record_of_another_version_is_read_as_far_as_it_is_known(registry: Registry, client: redis.Redis) -> None:
    registry.beat(_record("one"))
    client.sadd("headrace:workers", "newer", "older")
    client.set(
        "headrace:worker:newer", b'{"name": "newer", "device": "cpu:0", "models": [], "resident": [], "weather": 1}'
    )
    client.set("headrace:worker:older", b'{"name": "older"}')
    assert _names(registry) == ["newer", "older", "one"]
    assert _record("one") in registry.workers()
