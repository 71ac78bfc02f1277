"""PendingResult: one job's outcome, waited for by threads, event loops, or nobody."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from headrace.broker.embedded import EmbeddedBroker
from headrace.broker.revocations import REVOKED
from headrace.broker.waiter import Meta
from headrace.client import Client
from headrace.errors import HeadraceError, InvalidInput, JobRevoked, ResultTimeout
from headrace.pending import PendingResult
from headrace.settings import Settings
from tests.utils.jobs import answer, take, waiting
from tests.utils.waiting import wait_until

QUEUE = "infer.mill"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a real server at which no worker serves."""
    settings = Settings(state_dir=tmp_path_factory.mktemp("pending"), broker="bundled", redis_url=None)
    manifest = {"name": "mill", "version": "1", "entry_point": "mill.plugin:Mill", "task": "grind"}
    with EmbeddedBroker(settings.state_dir, bundled=True) as url, Client(url, settings=settings) as client:
        client.registry.publish({"mill": manifest})
        yield client


@pytest.fixture
def job(client: Client) -> PendingResult:
    """A job that waits in its queue."""
    client.redis.delete(QUEUE)
    return client.submit("mill", {"text": "grain"})


def _answer(client: Client, result: Any, state: str = "SUCCESS") -> None:
    answer(client.app, take(client.redis, QUEUE), result, state)


def test_a_result_can_be_asked_for_again(client: Client, job: PendingResult) -> None:
    _answer(client, {"flour": 1})
    assert job.result(timeout=5) == {"flour": 1}
    client.redis.delete(f"celery-task-meta-{job.id}")
    assert job.result(timeout=0) == {"flour": 1}


def test_a_stored_result_needs_no_waiting(client: Client, job: PendingResult) -> None:
    _answer(client, 1)
    assert client.pending(job.id).done()
    assert client.pending(job.id).result(timeout=0) == 1


def test_waiting_ends_in_time_and_names_the_job(client: Client, job: PendingResult) -> None:
    with pytest.raises(ResultTimeout, match=rf"{job.id}.*0\.01 s.*headrace models"):
        job.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        job.result(timeout=0)
    _answer(client, 1)
    assert job.result(timeout=5) == 1


@pytest.mark.parametrize("job_id", ["order-7", "0B5E1D6E-6A53-4E0C-9D0F-3C1E2C6F8A11"])
def test_an_id_that_is_none_of_ours_is_waited_for_and_told_of(client: Client, job_id: str) -> None:
    with pytest.raises(ResultTimeout, match="no id that headrace gives"):
        client.pending(job_id).result(timeout=0.01)
    client.app.backend.store_result(job_id, 1, "SUCCESS")
    assert client.pending(job_id).result(timeout=5) == 1


@pytest.mark.parametrize("job_id", [None, 3, "", "a\nb", "\ud800"])
def test_what_can_be_no_id_is_refused_at_once(client: Client, job_id: Any) -> None:
    with pytest.raises(InvalidInput, match="a job's id must be"):
        client.pending(job_id)


def test_a_thread_that_waits_hears_of_the_answer(client: Client, job: PendingResult) -> None:
    heard: list[Any] = []
    thread = threading.Thread(target=lambda: heard.append(job.result()))
    thread.start()
    wait_until(lambda: job._future is not None)
    _answer(client, 1)
    thread.join(timeout=5)
    assert heard == [1]


@pytest.mark.parametrize(
    ("result", "state", "kind", "words"),
    [
        (InvalidInput("text: too dull"), "FAILURE", InvalidInput, "text: too dull"),
        (KeyError("text"), "FAILURE", HeadraceError, "KeyError: text"),
        (JobRevoked("terminated"), "REVOKED", JobRevoked, "was revoked"),
    ],
)
def test_a_job_without_an_output_raises_its_error_each_time(
    client: Client, job: PendingResult, result: Exception, state: str, kind: type[HeadraceError], words: str
) -> None:
    _answer(client, result, state)
    for timeout in (5, 0, None):
        with pytest.raises(kind, match=words):
            job.result(timeout=timeout)
    assert job.done()


def test_it_is_done_once_there_is_an_answer(client: Client, job: PendingResult) -> None:
    assert not job.done()
    _answer(client, 1)
    wait_until(job.done)


def test_cancelling_a_job_that_nobody_has_claimed_makes_it_the_next_one(client: Client, job: PendingResult) -> None:
    last = client.submit("mill", {"text": "grain"})
    last.cancel()
    assert [message.id for message in waiting(client.redis, QUEUE)] == [last.id, job.id]
    assert client.redis.zscore(REVOKED, last.id)


@pytest.mark.parametrize("terminate", [False, True])
def test_cancelling_tells_all_workers_to_stop_the_job_those_to_come_too(
    client: Client, job: PendingResult, *, terminate: bool
) -> None:
    take(client.redis, QUEUE)
    pubsub: Any = client.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    with pubsub:
        pubsub.psubscribe("*pidbox*")
        pubsub.get_message(timeout=5)
        job.cancel(terminate=terminate)
        broadcast = json.loads(pubsub.get_message(timeout=5)["data"])
    order = json.loads(base64.b64decode(broadcast["body"]))
    assert (order["method"], order["destination"]) == ("revoke", None)
    assert order["arguments"]["task_id"] == [job.id]
    assert order["arguments"]["terminate"] is terminate
    assert client.redis.zscore(REVOKED, job.id)


async def test_several_jobs_can_be_awaited_together(client: Client, job: PendingResult) -> None:
    other = client.submit("mill", {"text": "straw"})
    _answer(client, "flour")
    _answer(client, InvalidInput("straw"), "FAILURE")
    outcomes = await asyncio.gather(job, other, return_exceptions=True)
    assert outcomes[0] == "flour"
    assert isinstance(outcomes[1], InvalidInput)


class _SlowJobs:
    """Gets no answer from Redis before somebody sets `answers`."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.future: Future[Meta] = Future()

    def futures(self, job_ids: Sequence[str]) -> list[Future[Meta]]:
        assert self.answers.wait(timeout=5)
        return [self.future]

    def revoke(self, job_ids: Sequence[str], model: str | None = None, *, terminate: bool = False) -> None:
        """Nothing to revoke."""


async def test_awaiting_lets_the_loop_go_on_while_redis_is_slow() -> None:
    jobs = _SlowJobs()
    jobs.future.set_result({"status": "SUCCESS", "result": 1})
    asyncio.get_running_loop().call_later(0.01, jobs.answers.set)
    assert await PendingResult(jobs, "job-1") == 1


async def test_who_stops_awaiting_leaves_the_result_to_others(client: Client, job: PendingResult) -> None:
    other = asyncio.ensure_future(client.pending(job.id))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(job, 0.05)
    _answer(client, 1)
    assert await asyncio.wait_for(other, 5) == 1
    assert job.result(timeout=5) == 1


def test_a_job_that_failed_with_a_timeout_tells_its_own_story(client: Client, job: PendingResult) -> None:
    _answer(client, ResultTimeout("the plugin's own words"), "FAILURE")
    with pytest.raises(ResultTimeout, match="the plugin's own words"):
        job.result()
