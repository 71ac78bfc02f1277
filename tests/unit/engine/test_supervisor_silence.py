"""EngineSupervisor when an engine says nothing: it has work, and no stage runs whose limit would end it."""

import logging
import os
import signal
from pathlib import Path

import pytest

from headrace.engine.messages import Ended, Loaded, Outcomes, Started
from headrace.engine.process import EngineProcess
from headrace.engine.supervisor import EngineSupervisor
from headrace.engine.watch import SILENCE_LIMIT
from headrace.engine.work import Terms, WorkItem
from headrace.settings import child_environment
from tests.utils.clock import Clock
from tests.utils.supervised import LOAD_LIMIT, Bench, Hearer
from tests.utils.waiting import wait_until

PLUGINS = Path(__file__).parents[2] / "plugins"


def _look(supervisor: EngineSupervisor, clock: Clock, seconds: float) -> None:
    """Let time pass, with a look in each second."""
    for _ in range(round(seconds)):
        clock.now += 1
        supervisor.tick()


def _silent(bench: Bench, seconds: float = SILENCE_LIMIT) -> None:
    _look(bench.supervisor, bench.clock, seconds)


def test_an_engine_that_hangs_between_stages_is_ended_and_what_it_had_runs_in_halves(
    running: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    first = running.engines.last
    running.submit(1, 2)
    _silent(running)
    assert first.calls == []
    with caplog.at_level(logging.ERROR):
        _silent(running, 1)
    assert first.calls == ["kill", "reap"]
    assert "has work, and has said nothing for 60 s" in caplog.text
    _silent(running, 1)
    running.hear(running.engines.ready())
    assert running.windows == [[1]]


def test_silence_begins_anew_with_each_word(running: Bench) -> None:
    running.submit(1)
    _silent(running, 50)
    running.hear(Loaded(model="m", seconds=1.0, max_batch_size=1, max_batch_tokens=1, batch_time_limit=5.0))
    _silent(running, 60)
    assert running.engines.last.calls == []
    _silent(running, 1)
    assert running.engines.last.calls[0] == "kill"


@pytest.mark.parametrize("stage", ["load", "prepare", "infer"])
def test_a_stage_may_take_as_long_as_its_own_limit_and_silence_begins_after_it(running: Bench, stage: str) -> None:
    running.submit(1)
    running.hear(Started(stage=stage, model="m", item_ids=[1]))  # type: ignore[arg-type]
    _silent(running, 299)
    assert running.engines.last.calls == []
    running.hear(Ended(stage=stage))  # type: ignore[arg-type]
    _silent(running, 60)
    assert running.engines.last.calls == []
    _silent(running, 1)
    assert running.engines.last.calls[0] == "kill"


def test_an_engine_without_work_may_be_silent_for_ever(running: Bench) -> None:
    _silent(running, 1_000)
    running.submit(1)
    _silent(running, 60)
    running.hear(Outcomes(model="m", seconds=0.5, outcomes=[(1, None, None)]))
    _silent(running, 1_000)
    assert running.engines.last.calls == []


def test_a_worker_that_was_held_up_itself_blames_nobody(running: Bench) -> None:
    running.submit(1)
    running.clock.now += 10_000
    running.supervisor.tick()
    assert running.engines.last.calls == []


def test_the_next_engine_has_its_own_time(running: Bench) -> None:
    running.submit(1)
    _silent(running, 62)
    running.hear(running.engines.ready())
    _silent(running, 60)
    assert running.engines.last.calls == []


def test_a_real_engine_that_is_stopped_is_replaced_and_the_item_answered() -> None:
    clock, heard = Clock(), Hearer()
    environment = child_environment(HEADRACE_PLUGIN_PATH=str(PLUGINS))
    supervisor = EngineSupervisor(
        lambda: EngineProcess("cpu:0", environment), heard, load_time_limit=LOAD_LIMIT, clock=clock
    )
    supervisor.start()
    try:
        _submit(supervisor, 1)
        first = _answered(supervisor, heard, 1)
        assert supervisor.engine_pid == first
        os.kill(first, signal.SIGSTOP)
        _submit(supervisor, 2)
        _look(supervisor, clock, SILENCE_LIMIT + 2)
        assert _answered(supervisor, heard, 2) not in {first, 0}
    finally:
        supervisor.kill()


def _submit(supervisor: EngineSupervisor, item_id: int) -> None:
    supervisor.submit([WorkItem(item_id, {"text": "a"}, Terms(model="faulty", params={}))])


def _answered(supervisor: EngineSupervisor, heard: Hearer, item_id: int) -> int:
    """Wait for an item's outcome; return the pid of the engine that gave it."""
    wait_until(lambda: supervisor.tick() or heard.outcomes.get(item_id), 20)
    return int(heard.outcomes[item_id].output["pid"])
