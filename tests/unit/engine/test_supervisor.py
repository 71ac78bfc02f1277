"""EngineSupervisor: items go to the engine, and each comes back as one outcome."""

import logging
from typing import Any

import numpy as np
import pytest

from headrace.engine.messages import Cancel, Ended, Loaded, Outcomes, Window, error_to_wire
from headrace.errors import InferenceFailed
from tests.utils.supervised import LOAD_LIMIT, Bench


def _outcomes(*item_ids: int, seconds: float = 0.5) -> Outcomes:
    return Outcomes(model="m", seconds=seconds, outcomes=[(each, f"output {each}", None) for each in item_ids])


def _loaded(model: str = "m", *, limit: float = 300.0) -> Loaded:
    return Loaded(model=model, seconds=1.5, max_batch_size=64, max_batch_tokens=None, batch_time_limit=limit)


class TestHandOver:
    def test_nothing_is_sent_before_the_engine_is_ready(self, bench: Bench) -> None:
        bench.submit(1)
        bench.supervisor.start()
        bench.submit(2)
        bench.supervisor.on_readable()
        assert bench.windows == []
        bench.hear(bench.engines.ready())
        assert bench.windows == [[1, 2]]

    def test_a_ready_engine_is_sent_items_at_once(self, running: Bench) -> None:
        running.submit(1, 2)
        running.submit(3)
        assert running.windows == [[1, 2], [3]]

    def test_a_window_is_of_one_model_and_in_order(self, bench: Bench) -> None:
        bench.submit(1, 2, model="a")
        bench.submit(3, model="b")
        bench.submit(4, model="a")
        bench.start()
        sent = [
            (each.model, [item[0] for item in each.items])
            for each in bench.engines.last.sent
            if isinstance(each, Window)
        ]
        assert sent == [("a", [1, 2, 4]), ("b", [3])]

    def test_an_input_that_cannot_be_sent_fails_alone(self, running: Bench) -> None:
        running.submit(1, 2**70, 3)
        assert running.windows == [[1, 3]]
        assert running.heard.codes == {2**70: "invalid_input"}


class TestAnswers:
    def test_outcomes_reach_the_listener_as_one_batch_with_its_time(self, running: Bench) -> None:
        running.submit(1, 2)
        running.hear(_outcomes(2, 1, seconds=0.25))
        assert running.heard.batches == [("m", 0.25, [2, 1])]
        assert running.heard.outcomes[1].output == "output 1"

    def test_of_two_outcomes_of_an_item_the_first_counts(self, running: Bench) -> None:
        running.submit(1)
        running.hear(_outcomes(1), _outcomes(1))
        assert list(running.heard.outcomes) == [1]

    def test_an_outcome_that_nobody_waits_for_is_ignored(self, running: Bench) -> None:
        running.hear(_outcomes(99))
        assert running.heard.outcomes == {}

    def test_an_error_arrives_with_its_code_and_the_engines_traceback(self, running: Bench) -> None:
        error = InferenceFailed("ValueError: no")
        error.__cause__ = ValueError("no")
        running.submit(1)
        running.hear(Outcomes(model="m", seconds=0.5, outcomes=[(1, None, error_to_wire(error))]))
        heard = running.heard.outcomes[1].error
        assert isinstance(heard, InferenceFailed)
        assert "ValueError: no" in str(heard.__cause__)

    @pytest.mark.parametrize("output", [None, 0, "", [], False, np.zeros(2, dtype="float32")], ids=repr)
    def test_an_empty_output_is_an_output(self, running: Bench, output: Any) -> None:
        running.submit(1)
        running.hear(Outcomes(model="m", seconds=0.5, outcomes=[(1, output, None)]))
        assert running.heard.outcomes[1].ok
        assert running.heard.outcomes[1].output is output

    def test_what_the_listener_submits_while_it_hears_is_sent(
        self, running: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(running.heard, "on_outcomes", lambda *_: running.submit(2))
        running.submit(1)
        running.hear(_outcomes(1))
        assert running.windows == [[1], [2]]


class TestCancel:
    def test_an_item_that_waits_is_answered_at_once_and_never_sent(self, bench: Bench) -> None:
        bench.submit(1, 2)
        bench.supervisor.cancel([1, 99])
        assert bench.heard.codes == {1: "revoked"}
        bench.start()
        assert bench.windows == [[2]]

    def test_for_an_item_in_the_engine_the_engine_answers(self, running: Bench) -> None:
        running.submit(1, 2)
        running.supervisor.cancel([2, 99])
        assert running.engines.last.sent[-1] == Cancel(item_ids=[2])
        assert running.heard.outcomes == {}
        running.hear(_outcomes(1, 2))
        assert running.heard.codes == {1: None, 2: None}

    def test_an_item_that_has_its_outcome_is_no_matter_for_the_engine(self, running: Bench) -> None:
        running.submit(1)
        running.hear(_outcomes(1))
        running.supervisor.cancel([1])
        assert running.windows == [[1]]
        assert len(running.engines.last.sent) == 1


class TestTimeLimits:
    @pytest.mark.parametrize(
        ("stage", "item_limit", "model_limit", "expected"),
        [
            ("load", 1.0, 20.0, LOAD_LIMIT),
            ("prepare", 1.0, 20.0, 20.0),
            ("infer", None, 20.0, 20.0),
            ("infer", 5.0, 20.0, 5.0),
            ("infer", 50.0, 20.0, 20.0),
            ("infer", None, None, 300.0),
        ],
    )
    def test_a_stage_is_killed_once_its_limit_has_passed(
        self, running: Bench, stage: Any, item_limit: float | None, model_limit: float | None, expected: float
    ) -> None:
        engine = running.engines.last
        if model_limit:
            running.hear(_loaded(limit=model_limit))
        running.submit(1, time_limit=item_limit)
        running.submit(2)
        running.begin(stage, 1, 2)
        running.clock.now += expected
        running.supervisor.tick()
        assert engine.calls == []
        running.clock.now += 0.1
        running.supervisor.tick()
        assert engine.calls[0] == "kill"

    def test_a_stage_that_has_ended_is_never_late(self, running: Bench) -> None:
        running.begin("infer", 1)
        running.hear(Ended(stage="infer"))
        running.clock.now += 10_000
        running.supervisor.tick()
        assert running.engines.last.calls == []

    def test_an_end_that_arrived_in_time_counts_even_if_it_is_read_late(self, running: Bench) -> None:
        running.begin("infer", 1)
        running.clock.now += 10_000
        running.engines.last.says.append(Ended(stage="infer"))
        running.supervisor.tick()
        assert running.engines.last.calls == []


class TestLifetime:
    def test_without_an_engine_nothing_is_asked_of_it(self, bench: Bench) -> None:
        bench.supervisor.on_readable()
        bench.supervisor.close()
        bench.supervisor.kill()
        assert (bench.supervisor.engine, bench.supervisor.engine_pid) == (None, None)

    def test_the_listener_hears_of_the_engine_that_it_can_watch(self, running: Bench) -> None:
        assert running.heard.engines == [("connected", running.engines.last)]
        assert running.supervisor.engine is running.engines.last
        assert running.supervisor.engine_pid == running.engines.last.pid

    def test_close_lets_the_engine_clean_up(self, running: Bench) -> None:
        running.supervisor.close()
        assert running.engines.last.calls == ["close"]
        assert running.supervisor.engine is None

    def test_kill_does_not(self, running: Bench) -> None:
        running.supervisor.kill()
        assert running.engines.last.calls == ["kill", "reap"]
        assert running.supervisor.engine is None

    def test_a_spawn_that_fails_is_tried_again_later(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.engines.refusals = 1
        with caplog.at_level(logging.ERROR):
            bench.supervisor.start()
        assert "no engine can be spawned" in caplog.text
        bench.supervisor.tick()
        assert bench.engines.spawned == []
        bench.clock.now += 1
        bench.supervisor.tick()
        assert len(bench.engines.spawned) == 1
        assert bench.supervisor.restarts == 0
