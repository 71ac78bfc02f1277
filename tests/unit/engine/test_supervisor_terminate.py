"""EngineSupervisor when jobs are terminated: the engine ends only for what it runs, and nobody else pays."""

import pytest

from headrace.engine.messages import Cancel, Ended, Outcomes, Stage, Started
from tests.utils.supervised import Bench


def _outcomes(*item_ids: int) -> Outcomes:
    return Outcomes(model="m", seconds=0.5, outcomes=[(each, None, None) for each in item_ids])


def _next_engine(bench: Bench) -> None:
    bench.supervisor.tick()
    bench.hear(bench.engines.ready())


def test_the_engine_ends_for_an_item_that_it_runs_and_the_others_run_again_together(running: Bench) -> None:
    first = running.engines.last
    running.submit(1, 2, 3)
    running.submit(4)
    running.begin("infer", 1, 2, 3)
    running.supervisor.terminate([2])
    assert first.calls == ["kill", "reap"]
    assert running.heard.codes == {2: "revoked"}
    _next_engine(running)
    assert running.windows == [[1, 3, 4]]


@pytest.mark.parametrize("times", range(1, 6))
def test_ends_on_purpose_delay_nothing_and_accuse_nobody(running: Bench, times: int) -> None:
    running.submit(0)
    for number in range(1, times + 1):
        running.submit(number)
        running.begin("infer", 0, number)
        running.supervisor.terminate([number])
        _next_engine(running)
    assert running.windows == [[0]]
    assert running.heard.codes == dict.fromkeys(range(1, times + 1), "revoked")


def test_what_waits_is_answered_and_the_engine_lives(running: Bench) -> None:
    running.submit(1)
    running.submit(2)
    running.begin("infer", 1)
    running.supervisor.terminate([2])
    assert running.engines.last.calls == []
    assert running.engines.last.sent[-1] == Cancel(item_ids=[2])


def test_an_item_whose_start_is_not_heard_of_yet_ends_the_engine_once_it_is(running: Bench) -> None:
    first = running.engines.last
    running.submit(1, 2)
    running.supervisor.terminate([1])
    assert first.calls == []
    running.begin("infer", 1, 2)
    assert first.calls == ["kill", "reap"]
    _next_engine(running)
    assert running.windows == [[2]]


def test_a_batch_that_has_ended_meanwhile_costs_no_engine(running: Bench) -> None:
    running.submit(1)
    running.supervisor.terminate([1])
    running.hear(Started(stage="infer", model="m", item_ids=[1]), _outcomes(1), Ended(stage="infer"))
    assert running.engines.last.calls == []
    assert running.heard.codes == {1: None}


@pytest.mark.parametrize(("stages", "ends"), [(["load"], 0), (["prepare"], 1), (["load", "prepare"], 0)])
def test_the_engine_ends_for_a_preparation_that_it_waits_for_but_not_for_a_load(
    running: Bench, stages: list[Stage], ends: int
) -> None:
    first = running.engines.last
    running.submit(1)
    for stage in stages:
        running.begin(stage, 1)
    running.supervisor.terminate([1])
    assert first.calls.count("kill") == ends


def test_suspects_of_a_death_are_suspects_still(running: Bench) -> None:
    running.submit(1, 2, 3, 4)
    running.die(Started(stage="infer", model="m", item_ids=[1, 2, 3, 4]))
    running.submit(5)
    running.begin("infer", 1, 2)
    running.supervisor.terminate([1])
    _next_engine(running)
    assert running.windows == [[2]]
    running.hear(_outcomes(2))
    running.hear(_outcomes(3, 4))
    assert running.windows == [[2], [3, 4], [5]]


def test_without_an_engine_it_is_a_cancel(bench: Bench) -> None:
    bench.submit(1)
    bench.supervisor.terminate([1])
    assert bench.heard.codes == {1: "revoked"}
