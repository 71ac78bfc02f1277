"""Watch: what runs, since when, and whether that is too long."""

import pytest

from headrace.engine.messages import Ended, Stage, Started
from headrace.engine.watch import Watch, describe
from headrace.engine.work import Terms, WorkItem
from tests.utils.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> Watch:
    return Watch(clock)


def _started(stage: Stage, *item_ids: int) -> Started:
    return Started(stage=stage, model="m", item_ids=list(item_ids))


def test_a_stage_is_overdue_once_its_limit_has_passed_and_not_before(watch: Watch, clock: Clock) -> None:
    watch.started(_started("infer", 1), limit=5.0)
    clock.now += 5.0
    assert watch.overdue() is None
    clock.now += 0.1
    overdue = watch.overdue()
    assert overdue is not None
    assert (overdue.stage, overdue.item_ids, overdue.limit) == ("infer", [1], 5.0)


def test_each_stage_has_a_limit_of_its_own(watch: Watch, clock: Clock) -> None:
    watch.started(_started("infer", 1), limit=50.0)
    watch.started(_started("prepare", 2), limit=5.0)
    clock.now += 6.0
    overdue = watch.overdue()
    assert overdue is not None
    assert overdue.stage == "prepare"


def test_the_time_of_a_stage_begins_anew_with_each_batch(watch: Watch, clock: Clock) -> None:
    for batch in range(3):
        watch.started(_started("infer", batch), limit=5.0)
        clock.now += 4.0
        assert watch.overdue() is None
        assert [running.item_ids for running in watch] == [[batch]]


def test_what_has_ended_is_neither_overdue_nor_suspect(watch: Watch, clock: Clock) -> None:
    watch.started(_started("infer", 1), limit=5.0)
    watch.started(_started("prepare", 2, 3), limit=50.0)
    watch.ended(Ended(stage="infer"))
    assert [running.item_ids for running in watch] == [[2, 3]]
    clock.now += 10.0
    assert watch.overdue() is None


def test_an_end_without_a_beginning_is_ignored(watch: Watch) -> None:
    watch.ended(Ended(stage="load"))
    assert list(watch) == []


def test_nothing_runs_in_a_dead_engine(watch: Watch, clock: Clock) -> None:
    watch.started(_started("infer", 1), limit=5.0)
    watch.clear()
    clock.now += 10.0
    assert list(watch) == []
    assert watch.overdue() is None


def test_the_log_names_stages_models_and_numbers(watch: Watch) -> None:
    assert describe(list(watch), {}) == "nothing"
    watch.started(_started("infer", 1), limit=5.0)
    watch.started(_started("prepare", 2, 3), limit=5.0)
    told = describe(list(watch), {2: WorkItem(2, None, Terms(model="m", params={}, job_id="a"), 7)})
    assert told == "infer of 1 m items (all of them answered); prepare of 2 m items (item 7 of job 'a')"


@pytest.mark.parametrize(
    ("stages", "foremost"),
    [
        ({}, []),
        ({"prepare": 1}, [1]),
        ({"prepare": 1, "infer": 2}, [2]),
        ({"load": 1, "prepare": 2}, []),
        ({"load": 1, "infer": 2}, [2]),
    ],
)
def test_what_keeps_the_engine_from_anything_else(watch: Watch, stages: dict[Stage, int], foremost: list[int]) -> None:
    for stage, item_id in stages.items():
        watch.started(_started(stage, item_id), limit=5.0)
    assert list(watch.foremost) == foremost
