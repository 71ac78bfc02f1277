"""Celery's own features hold on our pool: one worker serves the whole module."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from headrace.broker.embedded import EmbeddedBroker
from headrace.client import Client, PendingResult
from headrace.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    InvalidOutput,
    JobRevoked,
    ResultTimeout,
    TimeLimitExceeded,
)
from tests.integration.cluster import Cluster, isolated_settings
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.integration

QUEUE = "infer.faulty"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client beside one worker that the tests of this module share."""
    folder = tmp_path_factory.mktemp("features")
    with (
        isolated_settings(folder) as settings,
        EmbeddedBroker(settings.state_dir, bundled=True) as url,
        Client(url, settings=settings) as client,
        Cluster(client, folder / "workers.log").workers("faulty"),
    ):
        yield client


@pytest.fixture(scope="module")
def producer(client: Client) -> Celery:
    """A Celery app that knows nothing of ours."""
    app = Celery(broker=client.url, backend=client.url)
    app.conf.task_default_queue = QUEUE
    return app


def _job(producer: Celery, text: str, **more: object) -> object:
    return producer.signature(QUEUE, args=[{"text": text, **more}], queue=QUEUE)


def _texts(results: list[dict[str, str]]) -> list[str]:
    return [result["text"] for result in results]


def test_a_plain_producer_gets_json(producer: Celery) -> None:
    sent = producer.send_task(QUEUE, args=[{"text": "mill"}], queue=QUEUE)
    assert sent.get(timeout=20)["text"] == "mill"


def test_a_chunk_answers_with_outcomes_in_order(producer: Celery) -> None:
    inputs = [{"text": "a"}, {"text": "b", "do": "raise"}, {"text": "c"}]
    rows = producer.send_task(QUEUE, args=[inputs], queue=QUEUE).get(timeout=20)
    assert [row["ok"] for row in rows] == [True, False, True]
    assert rows[1]["error"]["code"] == "inference_failed"
    assert rows[2]["output"]["text"] == "c"


def test_an_empty_chunk_answers_with_an_empty_list(producer: Celery) -> None:
    assert producer.send_task(QUEUE, args=[[]], queue=QUEUE).get(timeout=20) == []


@pytest.mark.parametrize("args", [[], [{"text": "a"}, {"text": "b"}]])
def test_a_message_that_is_no_job_fails_alone(client: Client, producer: Celery, args: list[object]) -> None:
    sent = producer.send_task(QUEUE, args=args, queue=QUEUE)
    with pytest.raises(InvalidInput, match="exactly one positional argument"):
        client.pending(sent.id).result(timeout=20)


def test_params_that_a_model_has_not_declared_fail_their_job_alone(client: Client, producer: Celery) -> None:
    sent = producer.send_task(QUEUE, args=[{"text": "a"}], kwargs={"tpo": 3}, queue=QUEUE)
    with pytest.raises(InvalidInput, match="params for faulty: it has none named 'tpo'"):
        client.pending(sent.id).result(timeout=20)
    good = producer.send_task(QUEUE, args=[{"text": "a"}], kwargs={"top": 3}, queue=QUEUE)
    assert good.get(timeout=20)["text"] == "a"


def test_group(producer: Celery) -> None:
    results = group(_job(producer, str(each)) for each in range(5)).apply_async().get(timeout=20)
    assert _texts(results) == list("01234")


def test_chain_passes_the_output_on(producer: Celery) -> None:
    last = chain(_job(producer, "first"), producer.signature(QUEUE, queue=QUEUE)).apply_async()
    assert last.get(timeout=20)["text"] == "first"


def test_chord_runs_its_body_on_all_outputs(producer: Celery) -> None:
    body = producer.signature(QUEUE, queue=QUEUE)
    rows = chord([_job(producer, str(each)) for each in range(3)], body).apply_async().get(timeout=20)
    assert sorted(row["output"]["text"] for row in rows) == ["0", "1", "2"]


def test_a_retryable_error_is_retried_by_celery(client: Client, tmp_path: Path) -> None:
    job = client.submit("faulty", {"text": "again", "do": "retry", "path": str(tmp_path / "tried")})
    assert job.result(timeout=20)["text"] == "again"
    assert (tmp_path / "tried").exists()


def test_countdown_is_kept(producer: Celery) -> None:
    begin = time.monotonic()
    assert _job(producer, "later").apply_async(countdown=1).get(timeout=20)["text"] == "later"  # type: ignore[attr-defined]
    assert time.monotonic() - begin >= 1


def _busy(client: Client, folder: Path) -> PendingResult:
    """A job that runs by now, for a second."""
    begun = folder / "begun"
    job = client.submit("faulty", {"text": "busy", "do": "sleep", "seconds": 1.0, "path": str(begun)})
    wait_until(begun.exists)
    return job


def test_a_job_that_expires_behind_a_batch_is_revoked_and_never_runs(client: Client, tmp_path: Path) -> None:
    busy = _busy(client, tmp_path)
    late = client.submit("faulty", {"text": "late"}, expires=0.3)
    with pytest.raises(JobRevoked):
        late.result(timeout=20)
    assert busy.result(timeout=20)["text"] == "busy"


def test_a_job_past_its_deadline_fails_with_a_code(client: Client, tmp_path: Path) -> None:
    _busy(client, tmp_path)
    with pytest.raises(DeadlineExceeded):
        client.submit("faulty", {"text": "late"}, deadline=0.2).result(timeout=20)


def test_revoke_while_waiting_and_while_running_drops_the_result(client: Client, tmp_path: Path) -> None:
    running = _busy(client, tmp_path)
    waiting = client.submit("faulty", {"text": "waiting"})
    running.cancel()
    waiting.cancel()
    for job in (running, waiting):
        with pytest.raises(JobRevoked):
            job.result(timeout=20)
    assert client.submit("faulty", {"text": "after"}).result(timeout=20)["text"] == "after"


@pytest.mark.parametrize("how", ["client", "celery"])
def test_terminate_ends_what_runs_and_the_rest_of_its_window_runs_again(
    client: Client, producer: Celery, tmp_path: Path, how: str
) -> None:
    begun = tmp_path / "begun"
    _busy(client, tmp_path)
    slow = client.submit("faulty", {"text": "slow", "do": "sleep", "seconds": 60, "path": str(begun)})
    others = client.submit_many("faulty", [{"text": str(each)} for each in range(5)])
    wait_until(lambda: "slow" in begun.read_text().split())
    if how == "client":
        slow.cancel(terminate=True)
    else:
        producer.control.revoke(slow.id, terminate=True)
    with pytest.raises(JobRevoked):
        slow.result(timeout=20)
    outputs = [job.result(timeout=20) for job in others]
    assert [(output["text"], output["attempt"]) for output in outputs] == [(str(each), 1) for each in range(5)]
    assert not any(client.app.control.inspect(timeout=1.0).active().values())


def test_a_cancelled_job_that_runs_is_active_until_it_is_through(client: Client, tmp_path: Path) -> None:
    running = _busy(client, tmp_path)
    running.cancel()
    assert not running.done()
    with pytest.raises(JobRevoked):
        running.result(timeout=20)
    wait_until(lambda: not any(client.app.control.inspect(timeout=0.5).active().values()))


def test_a_hard_time_limit_kills_the_engine_and_fails_its_item_alone(client: Client, producer: Celery) -> None:
    slow = producer.send_task(
        QUEUE, args=[[{"text": "a"}, {"text": "b", "do": "sleep", "seconds": 60}]], queue=QUEUE, time_limit=1
    )
    rows = slow.get(timeout=30)
    assert rows[0]["ok"]
    assert rows[1]["error"]["code"] == TimeLimitExceeded.code


def test_an_exception_reaches_the_client_with_its_code(client: Client) -> None:
    with pytest.raises(InferenceFailed, match="ValueError"):
        client.submit("faulty", {"text": "x", "do": "raise"}).result(timeout=20)


def test_an_output_that_is_no_number_fails_alone_whoever_asked_for_it(client: Client, producer: Celery) -> None:
    bad = {"text": "b", "do": "nan"}
    with pytest.raises(InvalidOutput, match="NaN"):
        client.submit("faulty", bad).result(timeout=20)
    items = list(client.map("faulty", [{"text": "a"}, bad]))
    assert [item.error and item.error.code for item in items] == [None, "invalid_output"]
    sent = producer.send_task(QUEUE, args=[[{"text": "a"}, bad]], queue=QUEUE)
    assert [row.get("error", {}).get("code") for row in sent.get(timeout=20)] == [None, "invalid_output"]


def test_a_refused_item_fails_with_the_plugins_reason(client: Client) -> None:
    with pytest.raises(InvalidInput):
        client.submit("faulty", {"text": "x", "do": "refuse"}).result(timeout=20)


def test_results_can_be_awaited(client: Client) -> None:
    async def both() -> list[dict[str, str]]:
        return await asyncio.gather(*(client.submit("faulty", {"text": text}) for text in ("a", "b")))

    assert _texts(asyncio.run(both())) == ["a", "b"]


def test_who_stops_awaiting_does_not_spoil_the_result(client: Client) -> None:
    job = client.submit("faulty", {"text": "slow", "do": "sleep", "seconds": 1.0})

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job, 0.2)

    asyncio.run(impatient())
    assert job.result(timeout=20)["text"] == "slow"


def test_waiting_is_bounded(client: Client) -> None:
    job = client.submit("faulty", {"text": "slow", "do": "sleep", "seconds": 1.0})
    with pytest.raises(ResultTimeout, match="headrace models"):
        job.result(timeout=0.1)
    assert job.result(timeout=20)["text"] == "slow"


def test_map_yields_every_input_in_order_with_bounded_jobs_in_flight(client: Client) -> None:
    ahead = 0

    def inputs() -> Iterator[dict[str, str]]:
        nonlocal ahead
        for each in range(1000):
            ahead = each
            yield {"text": str(each)}

    seen = []
    for item in client.map("faulty", inputs(), chunk_size=16, max_chunks=4):
        seen.append(item.output["text"])
        assert ahead - item.index <= 16 * 5
    assert seen == [str(each) for each in range(1000)]


def test_map_as_completed_yields_every_input_once(client: Client) -> None:
    items = list(client.map("faulty", ({"text": str(each)} for each in range(300)), chunk_size=8, ordered=False))
    assert sorted(item.index for item in items) == list(range(300))
    assert all(item.output["text"] == str(item.index) for item in items)


def test_map_answers_refused_inputs_in_place(client: Client) -> None:
    inputs = [{"text": "a"}, {"no": "text"}, {"text": "c"}]
    items = list(client.map("faulty", inputs))
    assert [item.error is None for item in items] == [True, False, True]
    assert isinstance(items[1].error, InvalidInput)


def test_map_leaves_no_results_behind(client: Client) -> None:
    client.redis.flushdb()
    assert len(list(client.map("faulty", ({"text": str(each)} for each in range(50)), chunk_size=5))) == 50
    assert not list(client.redis.scan_iter("celery-task-meta-*"))


def test_inspect_shows_device_and_limits(client: Client) -> None:
    client.submit("faulty", {"text": "load"}).result(timeout=20)
    (stats,) = client.app.control.inspect(timeout=2.0).stats().values()
    assert stats["headrace_device"] == "cpu:0"
    assert 0 < stats["headrace_free_bytes"] <= stats["headrace_total_bytes"]
    assert "faulty" in stats["headrace_resident_models"]
    assert "auto items" in stats["headrace_batch_limit"]


def test_a_queue_can_be_left_and_taken_up_again_while_the_worker_runs(client: Client) -> None:
    control = client.app.control
    assert control.cancel_consumer(QUEUE, reply=True)
    job = client.submit("faulty", {"text": "later"})
    with pytest.raises(ResultTimeout):
        job.result(timeout=1.5)
    assert client.redis.llen(QUEUE) == 1
    assert control.add_consumer(QUEUE, reply=True)
    assert job.result(timeout=20)["text"] == "later"


def test_links_hear_of_an_output_and_errbacks_of_an_error(producer: Celery, client: Client) -> None:
    link = producer.signature(QUEUE, queue=QUEUE, options={"task_id": "linked"})
    _job(producer, "good").apply_async(link=link, link_error=link)  # type: ignore[attr-defined]
    assert client.pending("linked").result(timeout=20)["text"] == "good"
    errback = producer.signature(
        QUEUE, args=[{"text": "told"}], queue=QUEUE, immutable=True, options={"task_id": "errback"}
    )
    _job(producer, "bad", do="raise").apply_async(link=link, link_error=errback)  # type: ignore[attr-defined]
    assert client.pending("errback").result(timeout=20)["text"] == "told"


def test_a_job_that_celerys_own_control_revokes_is_revoked(producer: Celery, client: Client, tmp_path: Path) -> None:
    busy = _busy(client, tmp_path)
    waits = _job(producer, "revoked").apply_async()  # type: ignore[attr-defined]
    producer.control.revoke(waits.id)
    with pytest.raises(JobRevoked):
        client.pending(waits.id).result(timeout=20)
    assert busy.result(timeout=20)["text"] == "busy"


def test_inspect_tells_what_runs_what_is_due_later_and_what_may_be_sent(
    producer: Celery, client: Client, tmp_path: Path
) -> None:
    later = _job(producer, "later").apply_async(countdown=3)  # type: ignore[attr-defined]
    busy = _busy(client, tmp_path)
    inspect = client.app.control.inspect(timeout=3)
    wait_until(lambda: [each["request"]["id"] for each in _told(inspect.scheduled())] == [later.id], 10)
    assert QUEUE in _told(inspect.registered())
    assert [each["id"] for each in _told(inspect.active())] in ([busy.id], [])
    assert busy.result(timeout=20)["text"] == "busy"
    assert later.get(timeout=20)["text"] == "later"


def _told(reply: dict[str, list[Any]] | None) -> list[Any]:
    assert reply
    ((_, told),) = reply.items()
    return told
