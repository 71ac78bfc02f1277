"""Watchdog: it barks at a worker that has room and claims nothing, and at no other."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headrace.broker.claims import Claims
from headrace.broker.connection import Server
from headrace.broker.watchdog import Watchdog
from tests.utils.waiting import wait_until

QUEUE = "infer.mill"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five looks in 50 ms."""
    monkeypatch.setattr("headrace.broker.watchdog._PAUSE", 0.01)
    monkeypatch.setattr("headrace.broker.watchdog._LOOKS", 5)


@pytest.fixture
def claims(client: Server) -> Claims:
    claims = Claims(client, lease_seconds=60)
    claims.begin()
    claims.wanting = [QUEUE]
    return claims


@contextmanager
def _watched(client: Server, claims: Claims) -> Iterator[threading.Event]:
    barked = threading.Event()
    with Watchdog(client, claims, bark=barked.set):
        yield barked


@pytest.mark.parametrize("suffix", ["", ".high", ".low"])
def test_a_worker_that_leaves_jobs_where_they_are_is_ended(client: Server, claims: Claims, suffix: str) -> None:
    client.lpush(QUEUE + suffix, b"job")
    with _watched(client, claims) as barked:
        assert barked.wait(5)


def test_one_that_asks_for_jobs_is_not(client: Server, claims: Claims) -> None:
    client.lpush(QUEUE, b"job")
    with _watched(client, claims) as barked:
        for _ in range(50):
            claims.claim({"infer.other": 1})
            assert not barked.wait(0.005)


@pytest.mark.parametrize("why", ["no job", "no room", "no Redis"])
def test_one_that_cannot_claim_is_not(client: Server, claims: Claims, why: str) -> None:
    if why != "no job":
        client.lpush(QUEUE, b"job")
    if why == "no room":
        claims.wanting = []
    with _watched(Server(port=1) if why == "no Redis" else client, claims) as barked:
        assert not barked.wait(0.3)


def test_a_job_that_comes_late_is_given_as_much_time(client: Server, claims: Claims) -> None:
    with _watched(client, claims) as barked:
        assert not barked.wait(0.2)
        client.lpush(QUEUE, b"job")
        assert barked.wait(5)


HANGING = """
import sys, time
from headrace.broker import watchdog
from headrace.broker.claims import Claims
from headrace.broker.connection import connect
from headrace.settings import Settings

watchdog._PAUSE = 0.05
client = connect(sys.argv[1], Settings())
claims = Claims(client, lease_seconds=60)
claims.begin()
claims.wanting = ["infer.mill"]
with watchdog.Watchdog(client, claims):
    print("up", flush=True)
    time.sleep(60)
"""


def test_a_process_whose_main_thread_hangs_ends(client: Server, url: str) -> None:
    client.lpush(QUEUE, b"job")
    process = subprocess.Popen([sys.executable, "-c", HANGING, url])
    wait_until(lambda: process.poll() is not None, 30)
    assert process.returncode == 1
