"""BatchPool: from Celery's `apply_async` to windows for an engine, and from its answers to settled jobs."""

import gc
import os
from pathlib import Path
from typing import Any

import pytest
from kombu.asynchronous import Hub

from headrace.consumer.lane import WINDOWS
from headrace.consumer.pool import BatchPool
from headrace.engine.rate import FIRST_WINDOW
from headrace.errors import InferenceFailed, InvalidInput
from tests.integration.cluster import isolated_settings
from tests.utils.processes import is_alive
from tests.utils.requests import Desk
from tests.utils.scripted import PoolWorker, ScriptedEngine
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")  # as Celery tells of it

#: Items that an engine has at most before anything was measured.
MOST = WINDOWS * FIRST_WINDOW


class TestOneJob:
    def test_an_idle_engine_gets_it_at_once_and_its_answer_is_stored(self, worker: PoolWorker) -> None:
        request = worker.take({"text": "a"}, kwargs={"n": 1})
        (window,) = worker.engine.windows
        assert window.model == "m"
        assert (window.items[0][1], window.terms[0][0]) == ({"text": "a"}, {"n": 1})
        worker.answer()
        assert worker.desk.meta(request.id)["result"] == {"text": "a"}
        assert worker.desk.unacked == 0

    def test_flower_is_told_who_runs_it_and_what_its_batch_took(self, worker: PoolWorker) -> None:
        request = worker.take("a")
        assert request.worker_pid == ScriptedEngine.pid
        worker.answer(seconds=1.25)
        assert worker.desk.events.kinds == ["task-started", "task-succeeded"]
        assert worker.desk.events.sent[-1][1]["runtime"] == 1.25

    def test_a_chunk_is_settled_with_its_last_item_and_tells_all_its_batches_seconds(self, worker: PoolWorker) -> None:
        request = worker.take(list(range(MOST + 1)))
        worker.answer(seconds=1.0)
        assert worker.status(request) == "PENDING"
        worker.answer(seconds=0.5)
        rows = worker.desk.meta(request.id)["result"]
        assert [row["output"] for row in rows] == list(range(MOST + 1))
        assert (rows[0]["batch_size"], rows[-1]["batch_size"]) == (MOST, 1)
        assert worker.desk.events.sent[-1][1]["runtime"] == 1.5

    def test_an_engines_error_is_the_jobs_own(self, worker: PoolWorker) -> None:
        request = worker.take("a")
        worker.answer(error=InferenceFailed("told to"))
        assert isinstance(worker.desk.meta(request.id)["result"], InferenceFailed)

    @pytest.mark.parametrize(("args", "status"), [(("a", "b"), "FAILURE"), (([],), "SUCCESS")])
    def test_what_needs_no_engine_is_settled_at_once(
        self, worker: PoolWorker, args: tuple[Any, ...], status: str
    ) -> None:
        request = worker.take(*args)
        assert worker.status(request) == status
        assert worker.desk.unacked == 0
        assert worker.engine.windows == []

    def test_an_input_that_no_engine_can_be_sent_fails_alone(self, worker: PoolWorker) -> None:
        request = worker.take([1, 10**30])
        worker.answer()
        rows = worker.desk.meta(request.id)["result"]
        assert [row.get("output", row.get("error", {}).get("code")) for row in rows] == [1, InvalidInput.code]

    def test_the_time_limit_and_the_deadline_go_along(self, worker: PoolWorker) -> None:
        worker.take("a", time_limit=7, headers={"headrace_deadline": 123.0}, expires=60.0)
        _, deadline, expires, _ = worker.engine.windows[0].terms[0]
        assert deadline == 123.0
        assert expires is not None
        assert next(iter(worker.pool.dispatcher._jobs.values())).time_limit == 7

    def test_celerys_own_tasks_run_here_and_now(self, worker: PoolWorker) -> None:
        callbacks: list[Any] = []
        args: Any = ("celery.ping", "id", {}, ([], {}, {}), None, None)
        options = {"callback": callbacks.append, "accept_callback": lambda pid, _: callbacks.append(pid)}
        assert worker.pool.apply_async(lambda *args: args[0], args=args, **options) is None
        assert callbacks == [os.getpid(), "celery.ping"]
        assert worker.engine.windows == []


class TestManyJobs:
    def test_jobs_that_come_while_the_engine_is_busy_share_a_window(self, busy: PoolWorker) -> None:
        for text in ("a", "b", "c"):
            busy.take(text)
        assert len(busy.engine.windows) == WINDOWS
        busy.answer()
        assert [row[1] for row in busy.engine.windows[WINDOWS].items] == ["a", "b", "c"]

    def test_a_job_does_not_wait_for_company_beyond_the_delay(self, worker: PoolWorker) -> None:
        worker.take("a")
        worker.take("b")
        wait_until(lambda: worker.hub.run_once() or worker.engine.inputs == ["a", "b"])

    def test_while_outcomes_cannot_be_stored_nothing_is_claimed_or_begun(self, busy: PoolWorker) -> None:
        requests = [busy.take(text) for text in ("a", "b", "c")]
        busy.desk.redis.config_set("maxmemory", "1")
        busy.answer()
        busy.desk.redis.config_set("maxmemory", "0")
        assert len(busy.engine.windows) == WINDOWS
        assert busy.pool.room("infer.other") == 0
        assert busy.desk.settle_again()
        assert busy.pool.room("infer.other")
        busy.pool._tick()
        busy.answer()
        assert [busy.status(request) for request in requests] == ["SUCCESS"] * 3
        assert busy.desk.unacked == 0

    def test_models_have_lanes_of_their_own(self, busy: PoolWorker) -> None:
        request = busy.take("a", model="other")
        assert [window.model for window in busy.engine.windows] == [*["m"] * WINDOWS, "other"]
        assert busy.pool.room("infer.m") == 0
        assert busy.pool.room("infer.never_seen") == 1
        busy.load("other")
        assert busy.pool.room("infer.other") > 1
        busy.answer()
        assert busy.status(request) == "SUCCESS"

    def test_answered_items_make_room_again(self, busy: PoolWorker) -> None:
        assert busy.pool.room("infer.m") == 0
        busy.answer()
        assert busy.pool.room("infer.m")

    def test_only_batches_that_ran_are_measured(self, busy: PoolWorker) -> None:
        lane = busy.pool.dispatcher.lane("m")
        busy.answer(seconds=0.0, error=InvalidInput("refused"))
        assert lane.rate.value is None
        busy.take("a")
        busy.answer(seconds=0.5)
        assert lane.rate.value == pytest.approx(2.0)

    def test_settled_jobs_are_forgotten(self, busy: PoolWorker) -> None:
        busy.take("a")
        busy.answer()
        busy.answer()
        busy.requests.clear()
        gc.collect()
        assert (dict(busy.pool.dispatcher._jobs), busy.pool.open._jobs) == ({}, set())
        assert (busy.pool.dispatcher.lane("m").waiting, busy.pool.dispatcher.lane("m").handed) == (0, 0)


def test_inspect_shows_the_engine_and_its_device(worker: PoolWorker) -> None:
    info = worker.pool.info
    assert (info["processes"], info["device"], info["max-concurrency"]) == ([ScriptedEngine.pid], "cpu:0", 1)


def test_a_real_engine_answers_and_ends_with_the_pool(desk: Desk, tmp_path: Path) -> None:
    with isolated_settings(tmp_path):
        pool = BatchPool(app=desk.app)
        hub: Any = Hub()
        pool.register_with_event_loop(hub)
        pool.start()
        engine = pool.supervisor.engine_pid
        assert engine
        desk.send([{"text": "a"}, {"text": "b", "do": "raise"}], model="faulty")
        request = desk.claim(pool, "faulty")
        request.execute_using_pool(pool)
        wait_until(lambda: hub.run_once() or request.acknowledged)
        rows = desk.meta(request.id)["result"]
        pool.stop()
        hub.close()
    assert rows[0]["output"] == {"text": "a", "pid": engine, "attempt": 1}
    assert rows[1]["error"]["code"] == InferenceFailed.code
    assert not is_alive(engine)


class TestSuspects:
    """Jobs that a worker ran when it died."""

    @staticmethod
    def _suspect(worker: PoolWorker, *texts: str) -> list[Any]:
        """Take jobs of which each has lost an attempt."""
        desk = worker.desk
        sent = [desk.send(text) for text in texts]
        for job_id in sent:
            desk.redis.hset("headrace:attempts", job_id, "cpu0@dead 1700000000")
        return [worker.claim() for _ in texts]

    def test_each_runs_alone_and_before_others(self, worker: PoolWorker) -> None:
        requests = self._suspect(worker, "a", "b")
        later = worker.take("later")
        other = worker.take("other", model="other")
        for count, text in enumerate(["a", "b"], 1):
            assert [row[1] for row in worker.engine.windows[-1].items] == [text]
            assert len(worker.engine.windows) == count
            worker.answer()
        worker.answer()
        assert {worker.status(request) for request in (*requests, later, other)} == {"SUCCESS"}
        assert not worker.desk.redis.exists("headrace:attempts")

    def test_they_wait_until_the_engine_has_nothing_else(self, worker: PoolWorker) -> None:
        worker.take("innocent")
        self._suspect(worker, "a")
        assert worker.engine.inputs == ["innocent"]
        worker.answer()
        assert worker.engine.inputs == ["innocent", "a"]

    def test_the_plugin_is_told_of_the_attempt(self, worker: PoolWorker) -> None:
        self._suspect(worker, "a")
        assert worker.engine.windows[-1].terms[0][3] == 2

    def test_only_what_an_engine_has_counts(self, worker: PoolWorker) -> None:
        self._suspect(worker, "a", "b")
        claims = worker.desk.claims
        assert len(worker.desk.redis.hgetall(f"headrace:begun:{claims.incarnation}")) == 1
