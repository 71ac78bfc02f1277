"""BatchPool when jobs are revoked, the broker's connection is lost, or the worker ends."""

import os
import signal
import threading

import pytest
from celery.worker import state
from kombu.asynchronous import Hub

from headrace.broker.app import make_app
from headrace.broker.revocations import revoke
from headrace.consumer.lane import WINDOWS
from headrace.engine.messages import Started
from headrace.engine.rate import FIRST_WINDOW
from headrace.settings import Settings
from tests.utils.scripted import PoolWorker
from tests.utils.waiting import wait_until

#: Items that an engine has at most before anything was measured.
MOST = WINDOWS * FIRST_WINDOW


class TestRevoke:
    @pytest.mark.parametrize("how", ["revoked", "expired"])
    def test_a_waiting_job_is_dropped_at_the_hand_over(self, busy: PoolWorker, how: str) -> None:
        request, other = busy.take("a", expires=60.0), busy.take("b")
        if how == "revoked":
            state.revoked.add(request.id)
        else:
            request.expires = request.expires.replace(year=2000)
        busy.answer()
        assert [row[1] for row in busy.engine.windows[WINDOWS].items] == ["b"]
        assert (busy.status(request), busy.status(other)) == ("REVOKED", "PENDING")
        assert request.acknowledged

    def test_a_terminated_job_that_waits_gives_its_room_back_at_once(self, busy: PoolWorker) -> None:
        request = busy.take("a")
        request.terminate(busy.pool)
        assert busy.status(request) == "REVOKED"
        assert request.acknowledged
        assert busy.pool.dispatcher.lane("m").waiting == 0
        busy.answer()
        assert len(busy.engine.windows) == WINDOWS

    def test_a_terminated_job_that_runs_is_cancelled_and_its_late_outcome_dropped(self, worker: PoolWorker) -> None:
        request = worker.take(["a", "b"])
        request.terminate(worker.pool)
        assert worker.engine.cancelled == [row[0] for row in worker.engine.windows[0].items]
        worker.answer()
        assert worker.status(request) == "REVOKED"
        assert worker.desk.events.kinds == ["task-started", "task-revoked"]
        assert worker.pool.dispatcher.lane("m").handed == 0

    def test_a_terminated_job_that_runs_costs_the_engine_and_no_other_job(self, worker: PoolWorker) -> None:
        request, other = worker.take(["a", "b"]), worker.take("c")
        first = worker.engine
        wait_until(lambda: worker.hub.run_once() or first.inputs == ["a", "b", "c"])
        first.say(
            Started(stage="infer", model="m", item_ids=[row[0] for window in first.windows for row in window.items])
        )
        worker.pool.supervisor.on_readable()
        request.terminate(worker.pool)
        assert first.killed
        assert worker.status(request) == "REVOKED"
        wait_until(lambda: worker.hub.run_once() or worker.engine.inputs == ["c"])
        worker.answer()
        assert worker.status(other) == "SUCCESS"
        assert worker.engine.windows[0].terms[0][3] == 1
        assert worker.pool.dispatcher.lane("m").handed == 0

    def test_a_revoked_job_that_waits_is_answered_before_the_engine_is_free(self, busy: PoolWorker) -> None:
        request = busy.take("a")
        state.revoked.add(request.id)
        busy.look()
        assert busy.status(request) == "REVOKED"
        assert busy.pool.dispatcher.lane("m").waiting == 0

    def test_a_revoked_job_that_runs_stays_active_until_the_engine_is_through(self, worker: PoolWorker) -> None:
        request = worker.take(["a"] * (MOST + 1))
        state.revoked.add(request.id)
        for _ in range(2):
            worker.look()
        assert worker.engine.cancelled == [row[0] for window in worker.engine.windows for row in window.items]
        assert (worker.status(request), request in state.active_requests) == ("PENDING", True)
        worker.answer()
        assert (worker.status(request), request in state.active_requests) == ("REVOKED", False)
        assert len(worker.engine.windows) == WINDOWS
        assert not worker.engine.killed

    def test_a_job_whose_begun_items_have_ended_is_answered_when_it_is_revoked(self, busy: PoolWorker) -> None:
        request = busy.take(list(range(MOST + 1)))
        busy.answer()
        busy.pool.supervisor.on_readable()
        state.revoked.add(request.id)
        busy.look()
        busy.answer()
        assert busy.status(request) == "REVOKED"

    def test_a_terminate_after_the_end_changes_nothing(self, worker: PoolWorker) -> None:
        request = worker.take("a")
        job = next(iter(worker.pool.dispatcher._jobs.values()))
        worker.answer()
        job.terminate()
        assert worker.status(request) == "SUCCESS"
        assert worker.desk.events.kinds == ["task-started", "task-succeeded"]

    def test_a_revoke_of_which_no_broadcast_came_is_found_within_a_second(self, busy: PoolWorker) -> None:
        request = busy.take("a")
        revoke(busy.desk.redis, [request.id], keep=60)
        busy.look()
        busy.answer()
        assert busy.status(request) == "REVOKED"
        assert len(busy.engine.windows) == WINDOWS

    def test_no_process_is_signalled(self, worker: PoolWorker) -> None:
        received: list[int] = []
        before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
        request = worker.take("a")
        request.worker_pid = os.getpid()
        request.terminate(worker.pool, "USR1")
        signal.signal(signal.SIGUSR1, before)
        assert received == []
        assert not worker.engine.killed


class TestLostConnection:
    def test_what_has_not_started_goes_back_to_its_queue(self, busy: PoolWorker) -> None:
        job_id = busy.desk.send("a")
        busy.claim()
        busy.pool.flush()
        assert busy.pool.dispatcher.lane("m").waiting == 0
        assert busy.desk.claims.keep_only(busy.pool.open.tags) == 1
        assert busy.desk.message().headers["id"] == job_id
        busy.answer()
        assert "a" not in busy.engine.inputs

    def test_what_the_engine_has_stays_claimed_and_is_settled_once(self, worker: PoolWorker) -> None:
        running = worker.take("a")
        worker.pool.flush()
        assert worker.desk.claims.keep_only(worker.pool.open.tags) == 0
        assert worker.desk.unacked == 1
        worker.answer()
        assert worker.status(running) == "SUCCESS"
        assert worker.desk.unacked == 0

    def test_a_new_loop_watches_the_engine(self, worker: PoolWorker) -> None:
        worker.hub.close()
        worker.hub = Hub()
        worker.pool.register_with_event_loop(worker.hub)
        assert list(worker.hub.readers) == [worker.engine.fileno()]

    def test_the_loop_watches_the_engine_that_runs_and_no_dead_one(self, worker: PoolWorker) -> None:
        request = worker.take("a")
        worker.engine.die()
        worker.pool.supervisor.on_readable()
        assert not worker.hub.readers
        wait_until(lambda: worker.hub.run_once() or len(worker.engines) == 2)
        assert list(worker.hub.readers) == [worker.engine.fileno()]
        wait_until(lambda: worker.hub.run_once() or worker.engine.inputs == ["a"])
        worker.answer()
        assert worker.status(request) == "SUCCESS"
        assert worker.pool.supervisor.restarts == 1


class TestLostLease:
    def test_all_that_was_claimed_is_dropped_and_new_jobs_are_taken(self, busy: PoolWorker) -> None:
        running, waiting = busy.requests[0], busy.take("a")
        busy.desk.redis.delete(f"headrace:lease:{busy.desk.claims.incarnation}")
        assert not busy.desk.claims.renew()
        busy.look()
        assert set(busy.engine.cancelled) == set(busy.pool.dispatcher._jobs)
        assert busy.pool.dispatcher.lane("m").waiting == 0
        busy.answer()
        assert (busy.status(running), busy.status(waiting)) == ("PENDING", "PENDING")
        assert busy.pool.dispatcher._jobs == {}
        assert busy.desk.undelivered == 0
        after = busy.take("b")
        busy.answer()
        assert busy.status(after) == "SUCCESS"

    def test_a_countdown_that_ends_after_it_is_somebody_elses(self, worker: PoolWorker) -> None:
        worker.desk.send("a")
        request = worker.desk.claim(worker.pool)
        worker.desk.claims.begin()
        request.execute_using_pool(worker.pool)
        worker.pool.feed()
        assert worker.engine.inputs == []


class TestShutdown:
    def test_a_warm_one_finishes_what_the_engine_has_and_leaves_the_rest_unacknowledged(self, busy: PoolWorker) -> None:
        running, waiting = busy.requests[0], busy.take("a")
        busy.hub.call_soon(busy.engine.answer)
        busy.pool.stop()
        assert (busy.status(running), busy.status(waiting)) == ("SUCCESS", "PENDING")
        assert (running.acknowledged, waiting.acknowledged) == (True, False)
        assert busy.pool.supervisor.engine is None

    def test_a_warm_one_answers_what_was_revoked_while_it_waited(self, busy: PoolWorker) -> None:
        revoked, waiting = busy.take("a"), busy.take("b")
        state.revoked.add(revoked.id)
        busy.hub.call_soon(busy.engine.answer)
        busy.pool.stop()
        assert (busy.status(revoked), busy.status(waiting)) == ("REVOKED", "PENDING")
        busy.desk.claims.keep_only([])
        assert busy.desk.message().headers["id"] == waiting.id
        assert busy.desk.redis.llen("infer.m") == 0

    def test_nothing_is_left_that_would_end_the_process_later(self, worker: PoolWorker) -> None:
        worker.pool.stop()
        wait_until(lambda: not any(isinstance(thread, threading.Timer) for thread in threading.enumerate()))

    def test_nothing_is_claimed_once_it_has_begun(self, worker: PoolWorker) -> None:
        worker.pool.close()
        assert worker.pool.room("infer.m") == 0
        assert worker.pool.room("infer.never_seen") == 0

    def test_a_warm_one_without_redis_does_not_wait_for_what_it_could_not_store(self, worker: PoolWorker) -> None:
        worker.take("a")
        worker.pool.app = make_app("redis://127.0.0.1:1/0", Settings())
        worker.pool.stop()
        assert worker.engine.killed

    def test_a_cold_one_ends_the_engine_now(self, worker: PoolWorker) -> None:
        request = worker.take("a")
        worker.pool.terminate()
        assert worker.engine.killed
        assert not request.acknowledged
