"""Whatever dies, every job gets one outcome, and only the guilty one fails."""

import math
import os
import re
import signal

import pytest

from headrace.client import Client, MapItem
from headrace.errors import EngineDied, ResultTimeout
from headrace.launcher import Launcher
from tests.integration.cluster import Cluster
from tests.utils.processes import children_of, is_alive
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.integration


def _engine_pid(launcher: Launcher) -> int:
    worker = launcher.workers[0].pid
    assert worker is not None
    return wait_until(lambda: next(iter(children_of(worker)), 0))


def _restarts(client: Client) -> int:
    (stats,) = client.app.control.inspect(timeout=2.0).stats().values()
    return int(stats["headrace_engine_restarts"])


@pytest.mark.parametrize("how", ["exit", "segfault"])
def test_one_item_in_a_thousand_that_kills_the_engine_fails_alone(client: Client, cluster: Cluster, how: str) -> None:
    inputs = [{"text": str(each)} for each in range(1000)]
    inputs[457]["do"] = how
    with cluster.workers("faulty"):
        items = list(client.map("faulty", inputs))
        restarts = _restarts(client)
    log = cluster.log.read_text()
    assert re.search(r"it was running infer of \d+ faulty items \(\d+ items of job '[0-9a-f-]{36}'\)", log)
    assert re.search(r"failed: item \d+ of job '[0-9a-f-]{36}': the engine died \(.*\) each time it ran", log)
    assert [item.index for item in items if item.error] == [457]
    assert isinstance(items[457].error, EngineDied)
    assert all(item.output["text"] == str(item.index) for item in items if not item.error)
    largest_batch = max(item.batch_size for item in items)
    assert 1 <= restarts <= 2 * math.log2(largest_batch) + 2


def test_an_engine_killed_from_outside_costs_no_job(client: Client, cluster: Cluster) -> None:
    inputs = [{"text": str(each), "do": "sleep", "seconds": 0.005} for each in range(1000)]
    items: list[MapItem] = []
    with cluster.workers("faulty") as launcher:
        for item in client.map("faulty", inputs):
            items.append(item)
            if item.index in (100, 400, 700):
                _kill_engine(launcher)
        # An engine that died idle, since all is done, costs no answer that would have waited for its restart.
        wait_until(lambda: _restarts(client) == 3)
    assert [item.error for item in items if item.error] == []
    assert [item.output["text"] for item in items] == [str(each) for each in range(1000)]


def _kill_engine(launcher: Launcher) -> None:
    pid = _engine_pid(launcher)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))


def test_a_killed_worker_takes_its_engine_along_and_is_replaced(client: Client, cluster: Cluster) -> None:
    with cluster.workers("faulty") as launcher:
        client.submit("faulty", {"text": "load"}).result(timeout=20)
        engine, worker = _engine_pid(launcher), launcher.workers[0].pid
        assert worker is not None
        # Busy in a batch: the engine must not have to finish it.
        client.submit("faulty", {"text": "busy", "do": "sleep", "seconds": 6})
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not is_alive(engine), timeout=2.0)
        assert client.submit("faulty", {"text": "after"}).result(timeout=30)["text"] == "after"


def test_a_warm_shutdown_finishes_what_runs_and_gives_back_the_rest(client: Client, cluster: Cluster) -> None:
    jobs_total = 150
    with cluster.workers("faulty") as launcher:
        jobs = client.submit_many(
            "faulty", [{"text": str(each), "do": "sleep", "seconds": 0.02} for each in range(jobs_total)]
        )
        jobs[0].result(timeout=20)
        launcher.stop()
        assert launcher.join(timeout=30)
        done = sum(job.done() for job in jobs)
        assert not list(client.redis.scan_iter("headrace:claims:*"))
        assert client.redis.llen("infer.faulty") == jobs_total - done
    with cluster.workers("faulty"):
        assert [job.result(timeout=30)["text"] for job in jobs] == [str(each) for each in range(jobs_total)]


def test_two_workers_share_a_queue(client: Client, cluster: Cluster) -> None:
    with cluster.workers("faulty", count=2):
        items = list(client.map("faulty", ({"text": str(each)} for each in range(500)), chunk_size=10))
    assert {item.output["text"] for item in items} == {str(each) for each in range(500)}
    assert len({item.output["pid"] for item in items}) == 2


def test_64_megabytes_of_inputs_to_an_engine_that_is_busy_for_long_do_not_cost_it(
    client: Client, cluster: Cluster
) -> None:
    with cluster.workers("faulty"):
        busy = client.submit("faulty", {"text": "busy", "do": "hog", "seconds": 12})
        texts = [f"{each:08}" * 125_000 for each in range(64)]
        jobs = client.submit_many("faulty", [{"text": text} for text in texts])
        assert [job.result(timeout=60)["text"] for job in jobs] == texts
        # Neither is the worker held up: it answers meanwhile, and the engine is the first one still.
        assert busy.result(timeout=1)["pid"] == jobs[-1].result()["pid"]
        assert _restarts(client) == 0


@pytest.mark.parametrize("value", ["\ud800", 10**30])
def test_an_input_that_no_engine_can_be_sent_fails_alone(client: Client, cluster: Cluster, value: object) -> None:
    with cluster.workers("faulty"):
        # As a plain Celery producer sends it: our own client refuses such an input.
        inputs = [{"text": "a"}, {"text": "b", "strange": value}]
        sent = client.app.send_task("infer.faulty", args=[inputs], queue="infer.faulty")
        rows = sent.get(timeout=20)
        assert [row["ok"] for row in rows] == [True, False]
        assert rows[1]["error"]["code"] == "invalid_input"


def test_a_lost_connection_costs_no_job(client: Client, cluster: Cluster) -> None:
    with cluster.workers("faulty"):
        # Few enough for the worker to have claimed all, and to wait for more.
        jobs = client.submit_many("faulty", [{"text": str(each), "do": "sleep", "seconds": 0.1} for each in range(20)])
        jobs[0].result(timeout=20)
        for client_id in wait_until(lambda: _waiting_for_jobs(client)):
            client.redis.client_kill_filter(_id=client_id)
        assert [job.result(timeout=60)["text"] for job in jobs] == [str(each) for each in range(20)]


def _waiting_for_jobs(client: Client) -> list[str]:
    """Ids of the connections on which workers wait."""
    return [each["id"] for each in client.redis.client_list() if "blmove" in each["cmd"]]


def test_a_result_that_a_full_redis_refuses_is_stored_once_there_is_room(client: Client, cluster: Cluster) -> None:
    with cluster.workers("faulty"):
        client.submit("faulty", {"text": "load"}).result(timeout=20)
        job = client.submit("faulty", {"text": "kept", "do": "sleep", "seconds": 2.0})
        wait_until(lambda: any((client.app.control.inspect(timeout=0.5).active() or {}).values()))
        client.redis.config_set("maxmemory", "1")
        with pytest.raises(ResultTimeout):
            job.result(timeout=3)
        client.redis.config_set("maxmemory", "0")
        assert job.result(timeout=20)["text"] == "kept"
