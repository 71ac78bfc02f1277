"""ResultWaiter: who holds a future hears of its job, by a notice or else by the next look at everything."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from headrace.broker import codec
from headrace.broker.connection import connect
from headrace.broker.results import result_key, value_of
from headrace.broker.waiter import ResultWaiter, _drain, decode
from headrace.errors import BrokerUnavailable, ClientClosed, HeadraceError
from headrace.settings import Settings
from tests.utils.proxy import Proxy
from tests.utils.servers import unguarded
from tests.utils.waiting import wait_until

CHANNEL = "headrace:notify:test"


@pytest.fixture
def waiter(client: redis.Redis) -> Iterator[ResultWaiter]:
    """A waiter that listens, a moment after it last looked at everything."""
    waiter = ResultWaiter(client, CHANNEL)
    (first,) = waiter.futures(["first"])
    _await_listener(client)
    _store(client, "first", notify="first")
    first.result(timeout=5)
    client.delete(result_key("first"))
    yield waiter
    waiter.close()


def _await_listener(client: redis.Redis) -> None:
    wait_until(lambda: dict(client.pubsub_numsub(CHANNEL))[CHANNEL.encode()])


def _store(client: redis.Redis, *job_ids: str, status: str = "SUCCESS", notify: str = "") -> None:
    with client.pipeline(transaction=True) as pipe:
        for job_id in job_ids:
            pipe.set(result_key(job_id), codec.pack({"status": status, "result": job_id}))
        if notify:
            pipe.publish(CHANNEL, notify)
        pipe.execute()


def test_what_is_there_already_resolves_at_once(client: redis.Redis, waiter: ResultWaiter) -> None:
    _store(client, "a", "b")
    futures = waiter.futures(["b", "missing", "a"])
    assert [future.done() for future in futures] == [True, False, True]
    assert [futures[each].result()["result"] for each in (0, 2)] == ["b", "a"]


def test_a_notice_resolves_its_job_and_a_lost_one_costs_a_moment(client: redis.Redis, waiter: ResultWaiter) -> None:
    unheard, heard = waiter.futures(["unheard", "heard"])
    _store(client, "unheard", "heard", notify="heard")
    assert heard.result(timeout=5)["result"] == "heard"
    assert not unheard.done()
    assert unheard.result(timeout=5)["result"] == "unheard"


def test_a_lost_notice_costs_a_moment_among_many_others(client: redis.Redis, waiter: ResultWaiter) -> None:
    (unheard,) = waiter.futures(["unheard"])
    _store(client, "unheard")
    wait_until(lambda: client.publish(CHANNEL, "of another") and unheard.done(), 5)


@pytest.mark.parametrize("status", ["PENDING", "STARTED", "RETRY"])
def test_a_state_that_is_not_final_resolves_nothing(client: redis.Redis, waiter: ResultWaiter, status: str) -> None:
    _store(client, "a", status=status)
    (future,) = waiter.futures(["a"])
    assert not future.done()
    _store(client, "a", notify="a")
    assert future.result(timeout=5)["status"] == "SUCCESS"


def test_fetch_gives_final_results_only(client: redis.Redis, waiter: ResultWaiter) -> None:
    for status in ("SUCCESS", "FAILURE", "REVOKED", "STARTED"):
        _store(client, status, status=status)
    found = waiter.fetch(["SUCCESS", "missing", "FAILURE", "STARTED", "REVOKED"])
    assert {job_id: meta["status"] for job_id, meta in found.items()} == {
        each: each for each in ("SUCCESS", "FAILURE", "REVOKED")
    }


def test_many_results_come_in_few_round_trips(client: redis.Redis, waiter: ResultWaiter) -> None:
    job_ids = [str(each) for each in range(600)]
    _store(client, *job_ids)
    client.config_resetstat()
    assert [future.result(timeout=0)["result"] for future in waiter.futures(job_ids)] == job_ids
    stats: Any = client.info("commandstats")
    assert stats["cmdstat_mget"]["calls"] == 3


def test_all_who_wait_for_a_job_share_one_future(waiter: ResultWaiter) -> None:
    first, second = waiter.futures(["a", "a"])
    assert first is second
    assert waiter.futures(["a"]) == [first]


def test_a_future_that_nobody_holds_is_not_waited_for(waiter: ResultWaiter) -> None:
    kept = waiter.futures(["kept"])
    waiter.futures(["dropped"])
    wait_until(lambda: list(waiter._futures) == ["kept"])
    assert not kept[0].done()


def test_a_cancelled_future_does_not_keep_others_from_theirs(
    client: redis.Redis, waiter: ResultWaiter, caplog: pytest.LogCaptureFixture
) -> None:
    cancelled, other = waiter.futures(["cancelled", "other"])
    cancelled.cancel()
    _store(client, "cancelled", notify="cancelled")
    _store(client, "other", notify="other")
    assert other.result(timeout=5)["result"] == "other"
    assert caplog.records == []


def test_a_connection_that_was_cut_is_built_again(client: redis.Redis, waiter: ResultWaiter) -> None:
    (future,) = waiter.futures(["a"])
    client.client_kill_filter(_type="pubsub")
    _store(client, "a")
    assert future.result(timeout=5)["result"] == "a"
    _await_listener(client)


def test_notices_that_come_in_pieces_are_heard_through_one_connection(
    client: redis.Redis, url: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = Proxy(Path(url.removeprefix("redis+socket://").partition("?")[0]), piece=7)
    waiter = ResultWaiter(connect(f"redis://127.0.0.1:{proxy.port}/0", settings), CHANNEL)
    (last,) = waiter.futures(["last"])
    _await_listener(client)
    for number in range(100):
        client.publish(CHANNEL, f"other-{number}")
    _store(client, "last", notify="last")
    assert last.result(timeout=10)["result"] == "last"
    assert "cannot be heard" not in caplog.text
    waiter.close()
    proxy.close()


def test_who_listens_to_a_channel_that_is_never_silent_looks_up_all_the_same(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.broker.waiter._SWEEP_SECONDS", 0.2)
    pubsub: Any = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    pubsub.subscribe(CHANNEL)
    assert pubsub.get_message(timeout=5) is None  # that it has subscribed
    client.eval("for _ = 1, 200000 do redis.call('PUBLISH', KEYS[1], 'other') end", 1, CHANNEL)
    assert _drain(pubsub) == {"other"}
    assert pubsub.connection.can_read(timeout=0)
    pubsub.close()


def test_a_replica_that_has_lost_its_primary_is_waited_for_as_long_as_a_redis_that_is_away(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.broker.waiter._PATIENCE_SECONDS", 2.5)
    with unguarded(tmp_path) as (url, _), connect(url, settings) as replica:
        replica.config_set("replica-serve-stale-data", "no")
        replica.replicaof("127.0.0.1", "1")
        waiter = ResultWaiter(replica, CHANNEL)
        (_future,) = waiter.expect(["a"])
        with pytest.raises(BrokerUnavailable, match="has not answered"):
            wait_until(waiter.patiently(lambda: None), 10)
        waiter.close()


def test_discard_deletes_the_named_results_only(client: redis.Redis, waiter: ResultWaiter) -> None:
    _store(client, "a", "b", "c")
    waiter.discard(["a", "c", "missing"])
    waiter.discard([])
    assert client.keys("*") == [result_key("b").encode()]


def test_closing_ends_the_thread_and_tells_who_waits(client: redis.Redis) -> None:
    waiter = ResultWaiter(client, CHANNEL)
    (future,) = waiter.futures(["a"])
    waiter.close()
    assert "headrace-results" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ClientClosed, match="job a goes on"):
        future.result(timeout=0)
    with pytest.raises(ClientClosed):
        waiter.expect(["b"])
    waiter.close()


def test_one_that_never_listened_closes(client: redis.Redis) -> None:
    ResultWaiter(client, CHANNEL).close()


def test_stored_results_are_read_in_either_form() -> None:
    meta = {"status": "SUCCESS", "result": [1.5]}
    assert decode("a", codec.pack(meta)) == meta
    assert decode("a", b'{"status": "SUCCESS", "result": [1.5]}') == meta
    assert math.isnan(decode("a", b'{"status": "SUCCESS", "result": NaN}')["result"])


@pytest.mark.parametrize(
    "value", [b"garbage", b"5", b"{}", b'{"status": ["SUCCESS"]}', b'{"status": "DONE"}', b"\x82\xff"]
)
def test_what_is_no_result_fails_its_own_job_and_no_other(
    client: redis.Redis, waiter: ResultWaiter, value: bytes
) -> None:
    bad, good = waiter.futures(["bad", "good"])
    client.set(result_key("bad"), value)
    _store(client, "good", notify="good")
    client.publish(CHANNEL, "bad")
    assert good.result(timeout=5)["result"] == "good"
    with pytest.raises(HeadraceError, match="result of job bad cannot be read"):
        value_of(bad.result(timeout=5))
