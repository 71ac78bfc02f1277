"""Lease: renewed while its worker lives, and others' jobs are returned when theirs run out."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from headrace.broker.claims import Claims
from headrace.broker.connection import Server, connect_hastily
from headrace.broker.lease import RENEWALS, Lease, leased
from headrace.broker.reaper import Reaper
from headrace.settings import Settings
from tests.utils.waiting import wait_until

QUEUE = "infer.mill"
SECONDS = 1.0


def _claims(client: Server) -> Claims:
    claims = Claims(client, lease_seconds=SECONDS)
    claims.begin()
    return claims


def _reaper(client: Server) -> Reaper:
    return Reaper(client, lease_seconds=SECONDS)


def test_a_lease_outlasts_its_time_while_it_is_held(client: Server) -> None:
    claims = _claims(client)
    with Lease(claims, _reaper(client), seconds=SECONDS):
        end = time.monotonic() + 2 * SECONDS
        wait_until(lambda: time.monotonic() > end)
        assert claims.renew()
    assert not claims.lost


def test_one_that_is_gone_is_noted_and_not_taken_again(client: Server) -> None:
    claims = _claims(client)
    with Lease(claims, _reaper(client), seconds=SECONDS):
        client.delete(f"headrace:lease:{claims.incarnation}")
        wait_until(lambda: claims.lost)
        assert not client.exists(f"headrace:lease:{claims.incarnation}")
        claims.begin()
        assert claims.renew()


def test_a_dead_workers_jobs_come_back(client: Server) -> None:
    wait_until(lambda: client.info("server")["uptime_in_seconds"] > SECONDS)
    client.lpush(QUEUE, b"job")
    _claims(client).claim({QUEUE: 1})
    with Lease(_claims(client), _reaper(client), seconds=SECONDS):
        wait_until(lambda: client.llen(QUEUE), 2 * SECONDS + 2)


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The URL of a port that takes no connection and refuses none."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.settimeout(0)
            filling.connect_ex(listener.getsockname())
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_a_reaper_that_reaches_nobody_does_not_use_up_the_lease(client: Server, black_hole: str) -> None:
    claims = _claims(client)
    settings = Settings(connect_timeout=5 * SECONDS)
    lost = Reaper(connect_hastily(black_hole, settings, timeout=SECONDS / RENEWALS), lease_seconds=SECONDS)
    with Lease(claims, lost, seconds=SECONDS):
        end = time.monotonic() + 4 * SECONDS
        wait_until(lambda: time.monotonic() > end)
        assert claims.renew()


def test_a_worker_that_ends_gives_back_what_it_has(client: Server) -> None:
    client.lpush(QUEUE, b"job")
    claims = _claims(client)
    with leased(claims, _reaper(client), SECONDS):
        assert len(claims.claim({QUEUE: 1})) == 1
    assert client.lrange(QUEUE, 0, -1) == [b"job"]
    assert not client.exists(f"headrace:lease:{claims.incarnation}")


def test_without_redis_a_worker_ends_all_the_same(caplog: pytest.LogCaptureFixture, client: Server) -> None:
    claims = _claims(client)
    client.lpush(QUEUE, b"job")
    claims.claim({QUEUE: 1})
    claims._client = redis.Redis(port=1, socket_connect_timeout=0.1, retry=None)
    claims._give_back.registered_client = claims._client
    with leased(claims, _reaper(client), SECONDS):
        pass
    assert "could not be given back" in caplog.text
