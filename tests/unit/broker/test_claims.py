"""Claims: a message is in its queue or under a live lease, whatever fails in between."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.broker.claims import LEFT, Claims, LeaseLost
from tests.utils.waiting import wait_until

QUEUE, OTHER = "infer.mill", "infer.weir"
LEASE = 0.3


@pytest.fixture(autouse=True)
def _up_for_a_while(client: redis.Redis) -> None:
    """Nobody reaps before the server has been up for longer than a lease."""
    wait_until(lambda: client.info("server")["uptime_in_seconds"] > LEASE)


def _worker(client: redis.Redis, prefix: str = "", seconds: float = LEASE) -> Claims:
    claims = Claims(client, name="mill@host", prefix=prefix, lease_seconds=seconds)
    claims.begin()
    return claims


def _fill(client: redis.Redis, count: int, queue: str = QUEUE) -> list[bytes]:
    """Queue messages as producers do; return them in the order in which they are to be taken."""
    messages = [f"{queue} {number}".encode() for number in range(count)]
    client.lpush(queue, *messages)
    return messages


def _waiting(client: redis.Redis, queue: str = QUEUE) -> list[Any]:
    """What waits, the next one first."""
    stored: Any = client.lrange(queue, 0, -1)
    return list(reversed(stored))


def test_messages_are_taken_oldest_first_and_up_to_the_number_that_is_wanted(client: redis.Redis) -> None:
    messages = _fill(client, 5)
    worker = _worker(client)
    assert [claim.payload for claim in worker.claim({QUEUE: 3})] == messages[:3]
    assert _waiting(client) == messages[3:]
    assert [claim.payload for claim in worker.claim({QUEUE: 3})] == messages[3:]
    assert worker.claim({QUEUE: 3}) == []


def test_more_urgent_lists_come_first_and_each_claim_has_a_number_of_its_own(client: redis.Redis) -> None:
    low, high = _fill(client, 2, QUEUE), _fill(client, 2, OTHER)
    worker = _worker(client)
    first = worker.claim({OTHER: 5, QUEUE: 1})
    assert [(claim.queue, claim.payload) for claim in first] == [(OTHER, high[0]), (OTHER, high[1]), (QUEUE, low[0])]
    second = worker.claim({QUEUE: 5})
    numbers = [claim.number for claim in first + second]
    assert numbers == sorted(set(numbers))


def test_lists_of_one_model_share_what_is_wanted(client: redis.Redis) -> None:
    urgent, usual = _fill(client, 3, OTHER), _fill(client, 5, QUEUE)
    claims = _worker(client).claim({OTHER: 4, QUEUE: LEFT, "infer.none": LEFT})
    assert [claim.payload for claim in claims] == [*urgent, usual[0]]


def test_a_worker_without_a_lease_takes_nothing(client: redis.Redis) -> None:
    messages = _fill(client, 2)
    worker = _worker(client)
    client.delete(f"headrace:lease:{worker.incarnation}")
    with pytest.raises(LeaseLost):
        worker.claim({QUEUE: 2})
    assert not worker.renew()
    assert _waiting(client) == messages


def test_a_full_redis_keeps_every_message_where_it_is(client: redis.Redis) -> None:
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


def test_a_claim_whose_answer_was_lost_comes_again_and_overwrites_nothing(client: redis.Redis) -> None:
    messages = _fill(client, 4)
    worker = _worker(client, seconds=60)
    script = worker._claim

    def deaf(**arguments: Any) -> None:
        script(**arguments)
        raise redis.TimeoutError

    worker._claim = deaf
    with pytest.raises(redis.TimeoutError):
        worker.claim({QUEUE: 3})
    assert _waiting(client) == messages[3:]
    worker._claim = script
    assert [claim.payload for claim in worker.claim({QUEUE: 4})] == messages


def test_a_key_of_another_type_among_the_lists_takes_nothing(client: redis.Redis) -> None:
    messages = _fill(client, 3)
    client.set(OTHER, "no list")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        _worker(client).claim({QUEUE: 5, OTHER: LEFT})
    assert _waiting(client) == messages


def test_what_is_given_back_is_next_again_in_the_order_of_its_claims(client: redis.Redis) -> None:
    messages = _fill(client, 6)
    worker = _worker(client)
    claims = worker.claim({QUEUE: 4})
    assert worker.give_back([claims[2].number, claims[0].number]) == 2
    assert _waiting(client) == [messages[0], messages[2], *messages[4:]]
    assert worker.give_back([claims[0].number, 999]) == 0
    assert worker.give_back([]) == 0


def test_what_is_forgotten_does_not_come_back(client: redis.Redis) -> None:
    messages = _fill(client, 2)
    worker = _worker(client)
    first, _ = worker.claim({QUEUE: 2})
    worker.forget([first.number])
    worker.forget([])
    worker.end()
    assert _worker(client).reap() == 1
    assert _waiting(client) == messages[1:]


def test_a_dead_workers_jobs_are_back_in_order_once_its_lease_has_run_out(client: redis.Redis) -> None:
    messages = _fill(client, 20)
    dead, alive = _worker(client), _worker(client, seconds=60)
    dead.claim({QUEUE: 12})
    kept = alive.claim({QUEUE: 1})
    reaper = _worker(client)
    assert reaper.reap() == 0
    assert wait_until(reaper.reap, 5) == 12
    assert _waiting(client) == [*messages[:12], *messages[13:]]
    assert reaper.reap() == 0
    assert alive.give_back([kept[0].number]) == 1


def test_a_renewed_lease_lasts(client: redis.Redis) -> None:
    _fill(client, 1)
    worker, other = _worker(client), _worker(client)
    worker.claim({QUEUE: 1})
    end = time.monotonic() + 3 * LEASE
    while time.monotonic() < end:
        assert worker.renew()
        assert other.reap() == 0
        time.sleep(LEASE / 10)


def test_a_zombie_gives_back_and_forgets_nothing_that_was_reaped(client: redis.Redis) -> None:
    messages = _fill(client, 1)
    zombie, other = _worker(client), _worker(client)
    (claim,) = zombie.claim({QUEUE: 1})
    wait_until(other.reap, 5)
    assert zombie.give_back([claim.number]) == 0
    zombie.forget([claim.number])
    assert _waiting(client) == messages


def test_only_jobs_that_an_engine_had_lose_an_attempt(client: redis.Redis) -> None:
    _fill(client, 2)
    dead = _worker(client)
    first, _ = dead.claim({QUEUE: 2})
    dead.begun({first.tag: "job-a"})
    dead.end()
    assert _worker(client).reap() == 2
    (line,) = client.hvals("headrace:attempts")
    name, _, seconds = line.decode().rpartition(" ")
    assert name == "mill@host"
    assert abs(int(seconds) - time.time()) < 60


def test_each_death_adds_a_line_and_a_commit_clears_them(client: redis.Redis) -> None:
    _fill(client, 1)
    for deaths in (1, 2):
        worker = _worker(client)
        (claim,) = worker.claim({QUEUE: 1})
        assert len(worker.lost_attempts("job-a")) == deaths - 1
        worker.begun({claim.tag: "job-a"})
        worker.end()
        assert _worker(client).reap() == 1
    worker = _worker(client)
    (claim,) = worker.claim({QUEUE: 1})
    assert len(worker.lost_attempts("job-a")) == 2
    assert worker.lost_attempts("job-b") == []
    assert worker.commit([(claim.tag, [], "job-a")], expires=None) == ["done"]
    assert not client.exists("headrace:attempts")


def test_nothing_begins_under_a_lease_that_has_run_out(client: redis.Redis) -> None:
    _fill(client, 1)
    worker = _worker(client)
    (claim,) = worker.claim({QUEUE: 1})
    worker.end()
    worker.begun({claim.tag: "job-a"})
    assert not client.exists(f"headrace:begun:{worker.incarnation}")


def test_a_buried_message_is_in_the_list_of_dead_letters_once_and_nowhere_else(client: redis.Redis) -> None:
    messages = _fill(client, 1)
    worker = _worker(client)
    (claim,) = worker.claim({QUEUE: 1})
    worker.bury(claim, into="dead.mill", job_id="job-a")
    worker.bury(claim, into="dead.mill")
    assert client.lrange("dead.mill", 0, -1) == messages
    worker.end()
    assert _worker(client).reap() == 0


def test_a_zombie_buries_nothing(client: redis.Redis) -> None:
    _fill(client, 1)
    zombie = _worker(client)
    (claim,) = zombie.claim({QUEUE: 1})
    zombie.end()
    _worker(client).reap()
    zombie.bury(claim, into="dead.mill")
    assert not client.exists("dead.mill")


def test_nobody_reaps_soon_after_redis_has_started(client: redis.Redis) -> None:
    _fill(client, 1)
    dead = _worker(client)
    dead.claim({QUEUE: 1})
    dead.end()
    patient = Claims(client, lease_seconds=10_000)
    patient.begin()
    assert patient.reap() == 0
    assert client.llen(QUEUE) == 0


def test_every_key_carries_the_prefix(client: redis.Redis) -> None:
    client.lpush("app:" + QUEUE, b"message")
    worker = _worker(client, prefix="app:")
    (claim,) = worker.claim({QUEUE: 5})
    assert claim.queue == QUEUE
    worker.begun({claim.tag: "job"})
    assert all(key.startswith(b"app:") for key in client.scan_iter())
    worker.end()
    assert _worker(client, prefix="app:").reap() == 1
    assert all(key.startswith(b"app:") for key in client.scan_iter())
    assert client.lrange("app:" + QUEUE, 0, -1) == [b"message"]


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
    client: redis.Redis, steps: list[tuple[int, Step]]
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
    assert _worker(client).reap() == held
    assert len(set(_waiting(client))) == client.llen(QUEUE) == len(messages) - settled
