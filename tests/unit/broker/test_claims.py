"""Claims: a message is in its queue or under a live lease, whatever fails in between."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from headrace.broker.app import WHY_DEAD
from headrace.broker.claim import LeaseLost
from headrace.broker.claims import Claims
from headrace.broker.connection import Server, connect
from headrace.broker.reaper import Reaper
from headrace.broker.taker import LEFT
from headrace.settings import Settings
from tests.utils.proxy import Proxy
from tests.utils.waiting import wait_until

QUEUE, OTHER = "infer.mill", "infer.weir"
LEASE = 0.3


@pytest.fixture(autouse=True)
def _up_for_a_while(client: Server) -> None:
    """Nobody reaps before the server has been up for longer than a lease."""
    wait_until(lambda: client.info("server")["uptime_in_seconds"] > LEASE)


def _worker(client: Server, seconds: float = LEASE) -> Claims:
    claims = Claims(client, name="mill@host", lease_seconds=seconds)
    claims.begin()
    return claims


def _reap(client: Server, seconds: float = LEASE) -> int:
    return Reaper(client, lease_seconds=seconds).reap()


def _fill(client: Server, count: int, queue: str = QUEUE) -> list[bytes]:
    """Queue messages as producers do; return them in the order in which they are to be taken."""
    messages = [f"{queue} {number}".encode() for number in range(count)]
    client.lpush(queue, *messages)
    return messages


def _waiting(client: Server, queue: str = QUEUE) -> list[Any]:
    """What waits, the next one first."""
    stored: Any = client.lrange(queue, 0, -1)
    return list(reversed(stored))


def test_messages_are_taken_oldest_first_and_up_to_the_number_that_is_wanted(client: Server) -> None:
    messages = _fill(client, 5)
    worker = _worker(client)
    assert [claim.payload for claim in worker.claim({QUEUE: 3})] == messages[:3]
    assert _waiting(client) == messages[3:]
    assert [claim.payload for claim in worker.claim({QUEUE: 3})] == messages[3:]
    assert worker.claim({QUEUE: 3}) == []


def test_more_urgent_lists_come_first_and_each_claim_has_a_number_of_its_own(client: Server) -> None:
    low, high = _fill(client, 2, QUEUE), _fill(client, 2, OTHER)
    worker = _worker(client)
    first = worker.claim({OTHER: 5, QUEUE: 1})
    assert [(claim.queue, claim.payload) for claim in first] == [(OTHER, high[0]), (OTHER, high[1]), (QUEUE, low[0])]
    second = worker.claim({QUEUE: 5})
    numbers = [claim.number for claim in first + second]
    assert numbers == sorted(set(numbers))


def test_lists_of_one_model_share_what_is_wanted(client: Server) -> None:
    urgent, usual = _fill(client, 3, OTHER), _fill(client, 5, QUEUE)
    claims = _worker(client).claim({OTHER: 4, QUEUE: LEFT, "infer.none": LEFT})
    assert [claim.payload for claim in claims] == [*urgent, usual[0]]


def test_a_worker_without_a_lease_takes_nothing(client: Server) -> None:
    messages = _fill(client, 2)
    worker = _worker(client)
    client.delete(f"headrace:lease:{worker.incarnation}")
    with pytest.raises(LeaseLost):
        worker.claim({QUEUE: 2})
    assert not worker.renew()
    assert _waiting(client) == messages


def test_a_full_redis_keeps_every_message_where_it_is(client: Server) -> None:
    messages = _fill(client, 100)
    worker = _worker(client, seconds=60)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.OutOfMemoryError):
            worker.claim({QUEUE: 50})
        assert _waiting(client) == messages
    finally:
        client.config_set("maxmemory", 0)
    assert len(worker.claim({QUEUE: 50})) == 50


def _claim_unheard(worker: Claims, wanted: int) -> Callable[[], object]:
    """Send a claim whose answer is lost; return what sends it once more, as a network does that held it back."""
    script = worker._taker._take
    sent: list[dict[str, Any]] = []

    def deaf(**arguments: Any) -> None:
        sent.append(arguments)
        script(**arguments)
        raise redis.TimeoutError

    worker._taker._take = deaf  # type: ignore[assignment]
    with pytest.raises(redis.TimeoutError):
        worker.claim({QUEUE: wanted})
    worker._taker._take = script
    return lambda: script(**sent[0])


def test_a_claim_whose_answer_was_lost_comes_again_and_overwrites_nothing(client: Server) -> None:
    messages = _fill(client, 4)
    worker = _worker(client, seconds=60)
    _claim_unheard(worker, 3)
    assert _waiting(client) == messages[3:]
    assert [claim.payload for claim in worker.claim({QUEUE: 4})] == messages


def test_a_claim_that_comes_late_takes_nothing_since_nobody_would_hold_it(client: Server) -> None:
    messages = _fill(client, 6)
    worker = _worker(client, seconds=60)
    come_late = _claim_unheard(worker, 3)
    assert [claim.payload for claim in worker.claim({QUEUE: 2})] == messages[:2]
    with pytest.raises(redis.ResponseError, match="LATE"):
        come_late()
    assert _waiting(client) == messages[2:]
    assert [claim.payload for claim in worker.claim({QUEUE: 9})] == messages[2:]
    assert client.hlen(f"headrace:claims:{worker.incarnation}") == worker.count == 6


def test_a_lease_whose_claims_were_given_up_runs_out_all_the_same(client: Server) -> None:
    worker = _worker(client, seconds=60)
    _claim_unheard(worker, 1)
    worker.claim({QUEUE: 1})
    key = f"headrace:lease:{worker.incarnation}"
    assert 0 < client.pttl(key) <= 60_000
    _claim_unheard(worker, 1)
    client.delete(key)
    with pytest.raises(LeaseLost):
        worker.claim({QUEUE: 1})
    assert not client.exists(key)


def test_a_claim_that_the_network_held_back_takes_nothing(client: Server, url: str) -> None:
    messages = _fill(client, 3)
    proxy = Proxy(Path(url.removeprefix("redis+socket://").partition("?")[0]))
    far = connect(f"redis://127.0.0.1:{proxy.port}/0", Settings(), timeout=0.5)
    far.set_retry(Retry(NoBackoff(), 0))
    worker = _worker(far, seconds=60)
    assert worker.claim({OTHER: 1}) == []
    client.config_resetstat()
    proxy.hang()
    with pytest.raises(redis.TimeoutError):
        worker.claim({QUEUE: 3})
    # The packets that come next go another way.
    far.connection_pool = client.connection_pool
    assert len(worker.claim({QUEUE: 1})) == 1
    proxy.flow()
    wait_until(lambda: client.info("commandstats")["cmdstat_evalsha"]["calls"] == 3)
    assert _waiting(client) == messages[1:]
    assert client.hlen(f"headrace:claims:{worker.incarnation}") == 1
    proxy.close()


def test_a_key_of_another_type_among_the_lists_is_named_and_holds_up_no_other(
    client: Server, caplog: pytest.LogCaptureFixture
) -> None:
    messages = _fill(client, 3)
    client.set(OTHER, "no list")
    claims = _worker(client).claim({OTHER: 5, QUEUE: LEFT})
    assert [claim.payload for claim in claims] == messages
    assert f"cannot be read, since they are no lists: {OTHER}" in caplog.text


def test_a_claim_takes_only_so_many_bytes_and_says_so(client: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.broker.taker.BYTES_AT_ONCE", 1000)
    client.lpush(QUEUE, *[b"%03d" % number + b"x" * 297 for number in range(40)])
    client.lpush(OTHER, b"other")
    worker = _worker(client)
    claims = worker.claim({QUEUE: 40, OTHER: 40})
    assert [claim.payload[:3] for claim in claims] == [b"000", b"001", b"002", b"003"]
    assert (worker.cut, worker.held_bytes) == (True, 1200)
    assert client.llen(QUEUE) == 36
    worker.forget([claim.number for claim in claims])
    assert worker.held_bytes == 0
    client.delete(QUEUE)
    assert [claim.payload for claim in worker.claim({QUEUE: 40, OTHER: 40})] == [b"other"]
    assert not worker.cut


def test_a_message_that_is_larger_than_a_claim_may_be_is_taken_alone(
    client: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.broker.taker.BYTES_AT_ONCE", 10)
    messages = _fill(client, 2)
    worker = _worker(client)
    assert [claim.payload for claim in worker.claim({QUEUE: 5})] == messages[:1]
    assert [claim.payload for claim in worker.claim({QUEUE: 5})] == messages[1:]


@given(sizes=st.lists(st.integers(1, 60), max_size=60), wanted=st.integers(1, 70), most=st.integers(1, 400))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_the_sizes_claims_are_a_prefix_of_the_queue(
    client: Server, sizes: list[int], wanted: int, most: int
) -> None:
    client.flushall()
    messages = [bytes([65 + number % 26]) * size for number, size in enumerate(sizes)]
    if messages:
        client.lpush(QUEUE, *messages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.broker.taker.BYTES_AT_ONCE", most)
        claims = _worker(client).claim({QUEUE: wanted})
    taken = [claim.payload for claim in claims]
    assert taken == messages[: len(taken)]
    assert _waiting(client) == messages[len(taken) :]
    complete = len(taken) == min(wanted, len(messages))
    assert complete or sum(map(len, taken)) >= most
    assert sum(map(len, taken[:-1])) < most


def test_what_waits_for_its_time_is_back_then_and_not_before(client: Server) -> None:
    messages = _fill(client, 3)
    worker = _worker(client)
    first, second, third = worker.claim({QUEUE: 3})
    reaper = Reaper(client, lease_seconds=LEASE)
    worker.delay(first.tag, time.time() + 3600)
    worker.delay(third.tag, time.time() - 1)
    worker.delay(second.tag, time.time() - 2)
    assert worker.count == 0
    assert reaper.wake() == 2
    assert _waiting(client) == messages[1:]
    assert reaper.wake() == 0


def test_a_zombie_puts_nothing_aside_until_its_time(client: Server) -> None:
    messages = _fill(client, 1)
    zombie = _worker(client)
    (claim,) = zombie.claim({QUEUE: 1})
    zombie.end()
    _reap(client)
    zombie.delay(claim.tag, time.time())
    assert not client.exists("headrace:delayed")
    assert _waiting(client) == messages


def test_a_worker_that_lives_on_under_a_new_lease_has_lost_its_jobs_no_attempt(client: Server) -> None:
    _fill(client, 1)
    worker = _worker(client)
    (claim,) = worker.claim({QUEUE: 1})
    worker.begun({claim.tag: "job-a"})
    worker.end()
    worker.begin()
    assert _reap(client) == 1
    assert not client.exists("headrace:attempts")


def test_one_list_of_another_type_holds_up_no_other_job_of_the_dead(client: Server) -> None:
    _fill(client, 1)
    client.lpush(OTHER, b"stuck")
    dead = _worker(client)
    dead.claim({OTHER: 1, QUEUE: 1})
    dead.end()
    client.set(OTHER, "no list")
    assert _reap(client) == 1
    assert client.llen(QUEUE) == 1
    client.delete(OTHER)
    assert _reap(client) == 1
    assert client.lrange(OTHER, 0, -1) == [b"stuck"]


def test_what_is_given_back_to_a_list_of_another_type_waits_and_holds_up_no_other(
    client: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = _fill(client, 2)
    client.lpush(OTHER, b"stuck")
    worker = _worker(client, seconds=60)
    claims = worker.claim({QUEUE: 1, OTHER: 1})
    client.set(OTHER, "no list")
    monkeypatch.setattr("headrace.broker.claims.AGAIN_SECONDS", -1)
    assert worker.give_back([claim.number for claim in claims]) == 1
    assert _waiting(client) == messages
    assert worker.count == client.hlen(f"headrace:claims:{worker.incarnation}") == 0
    reaper = Reaper(client, lease_seconds=LEASE)
    assert reaper.wake() == 0
    assert f"since these are no lists: {OTHER}" in caplog.text
    client.delete(OTHER)
    assert reaper.wake() == 0  # in a minute
    (waiting,) = client.zrange("headrace:delayed", 0, -1)
    client.zadd("headrace:delayed", {waiting: time.time() - 1})
    assert reaper.wake() == 1
    assert client.lrange(OTHER, 0, -1) == [b"stuck"]


def test_whether_messages_are_held_is_told_without_their_bytes(client: Server) -> None:
    client.lpush(QUEUE, *(b"%d" % number * 100_000 for number in range(3)))
    worker = _worker(client, seconds=60)
    first, *others = worker.claim({QUEUE: 3})
    worker.forget([first.number])
    before = client.info("stats")["total_net_output_bytes"]
    assert worker.held([claim.tag for claim in (first, *others)]) == [False, True, True]
    assert client.info("stats")["total_net_output_bytes"] - before < 50_000
    assert worker.held([]) == []


def test_a_list_of_another_type_holds_up_nothing_whose_time_has_come(client: Server) -> None:
    messages = _fill(client, 3)
    client.lpush(OTHER, b"stuck")
    worker = _worker(client)
    for number, claim in enumerate(worker.claim({QUEUE: 2, OTHER: 1})):
        worker.delay(claim.tag, time.time() - 9 + number)
    client.set(OTHER, "no list")
    reaper = Reaper(client, lease_seconds=LEASE)
    assert (reaper.wake(), reaper.wake()) == (2, 0)
    assert _waiting(client) == messages


def test_a_full_redis_gives_back_later_what_it_did_not_take(client: Server) -> None:
    messages = _fill(client, 3)
    worker = _worker(client, seconds=60)
    claims = worker.claim({QUEUE: 3})
    client.config_set("maxmemory", 1)
    with pytest.raises(redis.OutOfMemoryError):
        worker.give_back([claims[1].number])
    client.config_set("maxmemory", 0)
    assert worker.keep_only([]) == 3
    assert _waiting(client) == messages


def test_what_is_returned_goes_in_calls_of_so_many_bytes_and_keeps_its_order(
    client: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("claims.BYTES_AT_ONCE", "reaper._BYTES_AT_ONCE"):
        monkeypatch.setattr(f"headrace.broker.{module}", 50)
    messages = _fill(client, 12)
    worker, reaper = _worker(client), Reaper(client, lease_seconds=LEASE)
    claims = worker.claim({QUEUE: 8})
    assert worker.give_back([claim.number for claim in claims]) == 8
    assert _waiting(client) == messages
    for number, claim in enumerate(worker.claim({QUEUE: 8})):
        worker.delay(claim.tag, time.time() - 10 - number)
    woken = list(iter(reaper.wake, 0))
    assert (len(woken) > 1, sum(woken)) == (True, 8)
    client.delete(QUEUE)
    messages = _fill(client, 8)
    worker.claim({QUEUE: 8})
    worker.end()
    reaped = list(iter(reaper.reap, 0))
    assert (len(reaped) > 1, sum(reaped)) == (True, 8)
    assert _waiting(client) == messages


def test_what_is_given_back_is_next_again_in_the_order_of_its_claims(client: Server) -> None:
    messages = _fill(client, 6)
    worker = _worker(client)
    claims = worker.claim({QUEUE: 4})
    assert worker.give_back([claims[2].number, claims[0].number]) == 2
    assert _waiting(client) == [messages[0], messages[2], *messages[4:]]
    assert worker.give_back([claims[0].number, 999]) == 0
    assert worker.give_back([]) == 0


def test_what_is_forgotten_does_not_come_back(client: Server) -> None:
    messages = _fill(client, 2)
    worker = _worker(client)
    first, _ = worker.claim({QUEUE: 2})
    worker.forget([first.number])
    worker.forget([])
    worker.end()
    assert _reap(client) == 1
    assert _waiting(client) == messages[1:]


def test_a_dead_workers_jobs_are_back_in_order_once_its_lease_has_run_out(client: Server) -> None:
    messages = _fill(client, 20)
    dead, alive = _worker(client), _worker(client, seconds=60)
    dead.claim({QUEUE: 12})
    kept = alive.claim({QUEUE: 1})
    assert _reap(client) == 0
    assert wait_until(lambda: _reap(client), 5) == 12
    assert _waiting(client) == [*messages[:12], *messages[13:]]
    assert _reap(client) == 0
    assert alive.give_back([kept[0].number]) == 1


def test_a_renewed_lease_lasts(client: Server) -> None:
    _fill(client, 1)
    worker = _worker(client)
    worker.claim({QUEUE: 1})
    end = time.monotonic() + 3 * LEASE
    while time.monotonic() < end:
        assert worker.renew()
        assert _reap(client) == 0
        time.sleep(LEASE / 10)


def test_a_zombie_gives_back_and_forgets_nothing_that_was_reaped(client: Server) -> None:
    messages = _fill(client, 1)
    zombie = _worker(client)
    (claim,) = zombie.claim({QUEUE: 1})
    wait_until(lambda: _reap(client), 5)
    assert zombie.give_back([claim.number]) == 0
    zombie.forget([claim.number])
    assert _waiting(client) == messages


def test_only_jobs_that_an_engine_had_lose_an_attempt(client: Server) -> None:
    _fill(client, 2)
    dead = _worker(client)
    first, _ = dead.claim({QUEUE: 2})
    dead.begun({first.tag: "job-a"})
    dead.end()
    assert _reap(client) == 2
    (line,) = client.hvals("headrace:attempts")
    name, _, seconds = line.decode().rpartition(" ")
    assert name == "mill@host"
    assert abs(int(seconds) - time.time()) < 60


def test_each_death_adds_a_line_and_a_commit_clears_them(client: Server) -> None:
    _fill(client, 1)
    for deaths in (1, 2):
        worker = _worker(client)
        (claim,) = worker.claim({QUEUE: 1})
        assert len(worker.marks.of(["job-a"]).lost.get("job-a", ())) == deaths - 1
        worker.begun({claim.tag: "job-a"})
        worker.end()
        assert _reap(client) == 1
    worker = _worker(client)
    (claim,) = worker.claim({QUEUE: 1})
    known = worker.marks.of(["job-a", "job-b"])
    assert {job_id: len(lines) for job_id, lines in known.lost.items()} == {"job-a": 2}
    assert client.ttl("headrace:attempts") > 0
    assert worker.commit([(claim.tag, [], "job-a")], expires=None) == ["done"]
    assert not client.exists("headrace:attempts")


def test_nothing_begins_under_a_lease_that_has_run_out(client: Server) -> None:
    _fill(client, 1)
    worker = _worker(client)
    (claim,) = worker.claim({QUEUE: 1})
    worker.end()
    worker.begun({claim.tag: "job-a"})
    assert not client.exists(f"headrace:begun:{worker.incarnation}")


def test_a_buried_message_is_in_the_list_of_dead_letters_once_and_nowhere_else(client: Server) -> None:
    messages = _fill(client, 1)
    worker = _worker(client)
    (claim,) = worker.claim({QUEUE: 1})
    worker.bury(claim, model="mill", why="no", job_id="job-a")
    worker.bury(claim, model="mill", why="no")
    assert client.lrange("dead.mill", 0, -1) == messages
    worker.end()
    assert _reap(client) == 0


def test_a_message_that_cannot_be_buried_now_is_buried_once(client: Server) -> None:
    messages = _fill(client, 1)
    worker = _worker(client)
    (claim,) = worker.claim({QUEUE: 1})
    client.set(WHY_DEAD + "mill", "no reasons")
    for _ in range(2):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            worker.bury(claim, model="mill", why="no")
    client.delete(WHY_DEAD + "mill")
    worker.bury(claim, model="mill", why="no")
    assert client.lrange("dead.mill", 0, -1) == messages


def test_a_zombie_buries_nothing(client: Server) -> None:
    _fill(client, 1)
    zombie = _worker(client)
    (claim,) = zombie.claim({QUEUE: 1})
    zombie.end()
    _reap(client)
    zombie.bury(claim, model="mill", why="no")
    assert not client.exists("dead.mill")


def test_nobody_reaps_soon_after_redis_has_started(client: Server) -> None:
    _fill(client, 1)
    dead = _worker(client)
    dead.claim({QUEUE: 1})
    dead.end()
    assert _reap(client, seconds=10_000) == 0
    assert client.llen(QUEUE) == 0


def test_every_key_carries_the_prefix(client: Server) -> None:
    client.prefix = "app:"
    client.lpush("app:" + QUEUE, b"message", b"later")
    worker = _worker(client)
    (claim, later) = worker.claim({QUEUE: 5})
    assert claim.queue == QUEUE
    worker.begun({claim.tag: "job"})
    worker.delay(later.tag, time.time())
    worker.end()
    assert all(key.startswith(b"app:") for key in client.scan_iter())
    assert (_reap(client), Reaper(client, lease_seconds=LEASE).wake()) == (1, 1)
    assert all(key.startswith(b"app:") for key in client.scan_iter())
    assert client.llen("app:" + QUEUE) == 2


Step = Callable[[Claims, list[int]], None]


def _forget_first(worker: Claims, held: list[int]) -> None:
    if held:
        worker.forget([held.pop(0)])


def _return_last(worker: Claims, held: list[int]) -> None:
    if held:
        worker.give_back([held.pop()])


def _claim_two(worker: Claims, held: list[int]) -> None:
    held += [claim.number for claim in worker.claim({QUEUE: 2})]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([_claim_two, _forget_first, _return_last])), max_size=20))
def test_whatever_workers_do_each_message_is_in_one_place_or_settled(
    client: Server, steps: list[tuple[int, Step]]
) -> None:
    client.flushall()
    messages = _fill(client, 8)
    workers = [(_worker(client, seconds=60), list[int]()) for _ in range(2)]
    settled = 0
    for which, step in steps:
        before = len(workers[which][1])
        step(*workers[which])
        settled += step is _forget_first and before > 0
    held = sum(len(numbers) for _, numbers in workers)
    assert client.llen(QUEUE) + held + settled == len(messages)
    for worker, _ in workers:
        worker.end()
    assert _reap(client) == held
    assert len(set(_waiting(client))) == client.llen(QUEUE) == len(messages) - settled
