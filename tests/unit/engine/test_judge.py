"""Judge: whoever kills an engine is found in few deaths, and nobody else fails."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.judge import STAGE_DEATHS, Death, Judge, Verdict
from headrace.engine.messages import Stage
from headrace.engine.watch import Running
from headrace.engine.work import Terms, WorkItem
from headrace.errors import EngineDied, TimeLimitExceeded

Judgement = Mapping[int, type[Exception]]


def _items(*item_ids: int, model: str = "m") -> dict[int, WorkItem]:
    return {each: WorkItem(each, None, Terms(model=model, params={})) for each in item_ids}


def _running(stage: Stage, *item_ids: int, model: str = "m") -> Running:
    return Running(stage=stage, model=model, item_ids=list(item_ids), since=0.0, limit=2.5)


def _death(
    *running: Running, overdue: Running | None = None, was_ready: bool = True, sent: Collection[int] = ()
) -> Death:
    return Death(how="exit status 3", running=running, overdue=overdue, was_ready=was_ready, sent=sent)


def _failed(verdict: Verdict) -> dict[int, type[Exception]]:
    return {item_id: type(error) for item_ids, error in verdict.failed for item_id in item_ids}


class TestBatches:
    def test_the_items_of_a_batch_that_died_are_suspects_and_none_fails_yet(self) -> None:
        judge = Judge()
        verdict = judge.judge(_death(_running("infer", 1, 2, 3), sent={1, 2, 3, 4}), _items(1, 2, 3, 4))
        assert (verdict.failed, verdict.suspects) == ([], {1, 2, 3})
        assert [judge.suspects.take(), judge.suspects.take()] == [[1, 2], [3]]

    def test_an_item_that_dies_alone_fails_the_second_time(self) -> None:
        judge, death = Judge(), _death(_running("infer", 1), sent={1})
        assert _failed(judge.judge(death, _items(1))) == {}
        verdict = judge.judge(death, _items(1))
        assert _failed(verdict) == {1: EngineDied}
        assert "(exit status 3) each time it ran this item alone" in str(verdict.failed[0][1])

    def test_an_outcome_between_two_deaths_clears_an_item(self) -> None:
        judge, death = Judge(), _death(_running("infer", 1), sent={1})
        judge.judge(death, _items(1))
        judge.suspects.forget(1)
        assert _failed(judge.judge(death, _items(1))) == {}

    def test_what_was_prepared_beside_the_batch_is_suspect_too_and_not_alone(self) -> None:
        judge, death = Judge(), _death(_running("infer", 1), _running("prepare", 2), sent={1, 2})
        for _ in range(3):
            verdict = judge.judge(death, _items(1, 2))
            assert (verdict.failed, verdict.suspects) == ([], {1, 2})

    def test_items_that_were_answered_before_the_death_are_not_accused(self) -> None:
        judge = Judge()
        verdict = judge.judge(_death(_running("infer", 1, 2), sent={2}), _items(2))
        assert verdict.suspects == {2}
        assert judge.suspects.take() == [2]
        assert not judge.suspects

    def test_a_death_between_two_stages_accuses_all_that_was_sent(self) -> None:
        judge = Judge()
        verdict = judge.judge(_death(sent={3, 1, 2}), _items(1, 2, 3, 4))
        assert (verdict.failed, verdict.suspects) == ([], {1, 2, 3})
        assert judge.suspects.take() == [1, 2]

    def test_an_idle_engines_death_accuses_nobody(self) -> None:
        judge = Judge()
        for _ in range(2 * STAGE_DEATHS):
            verdict = judge.judge(_death(), _items(1))
            assert (verdict.failed, verdict.suspects) == ([], set())


class TestLoadsBesideBatches:
    def test_a_death_beside_a_load_is_held_against_neither(self) -> None:
        judge = Judge()
        death = _death(_running("infer", 1), _running("load", 2, model="other"), sent={1, 2})
        for _ in range(2 * STAGE_DEATHS):
            verdict = judge.judge(death, _items(1) | _items(2, model="other"))
            assert (verdict.failed, verdict.suspects) == ([], {1})
            assert judge.suspects.take() == [1]
        assert judge.load_alone == {"other"}

    def test_a_load_alone_and_what_is_prepared_beside_it_count_as_ever(self) -> None:
        judge, death = Judge(), _death(_running("load", 2), _running("prepare", 1, model="other"), sent={1, 2})
        items = _items(2) | _items(1, model="other")
        verdicts = [judge.judge(death, items) for _ in range(STAGE_DEATHS)]
        assert [_failed(each) for each in verdicts] == [{}, {}, {2: EngineDied}]
        assert [each.suspects for each in verdicts] == [{1}] * STAGE_DEATHS
        assert judge.load_alone == set()


class TestTimeLimits:
    def test_an_item_that_is_slow_alone_fails_at_once(self) -> None:
        slow = _running("infer", 1)
        verdict = Judge().judge(_death(slow, overdue=slow, sent={1}), _items(1))
        assert _failed(verdict) == {1: TimeLimitExceeded}
        assert "its limit of 2.5 s" in str(verdict.failed[0][1])
        assert verdict.suspects == set()

    def test_of_a_slow_batch_nobody_fails_yet(self) -> None:
        slow = _running("infer", 1, 2)
        verdict = Judge().judge(_death(slow, overdue=slow, sent={1, 2}), _items(1, 2))
        assert (verdict.failed, verdict.suspects) == ([], {1, 2})

    def test_what_ran_beside_the_slow_stage_is_not_accused(self) -> None:
        slow, beside = _running("infer", 1), _running("prepare", 2, 3)
        verdict = Judge().judge(_death(slow, beside, overdue=slow, sent={1, 2, 3}), _items(1, 2, 3))
        assert (_failed(verdict), verdict.suspects) == ({1: TimeLimitExceeded}, set())

    def test_a_slow_batch_whose_items_all_have_outcomes_accuses_nobody(self) -> None:
        slow = _running("infer", 1)
        verdict = Judge().judge(_death(slow, overdue=slow), _items(2))
        assert (verdict.failed, verdict.suspects) == ([], set())

    def test_a_model_that_loads_too_long_fails_all_that_wait_for_it(self) -> None:
        load = _running("load", 1)
        items = _items(1, 2) | _items(3, model="other")
        verdict = Judge().judge(_death(load, overdue=load, sent={1, 3}), items)
        assert _failed(verdict) == {1: TimeLimitExceeded, 2: TimeLimitExceeded}
        assert "loading model m took longer than 2.5 s" in str(verdict.failed[0][1])


class TestStages:
    def test_the_third_death_in_loading_fails_what_waits_for_the_model(self) -> None:
        judge, items = Judge(), _items(1, 2) | _items(3, model="other")
        verdicts = [judge.judge(_death(_running("load", 1), sent={1, 3}), items) for _ in range(STAGE_DEATHS)]
        assert [_failed(each) for each in verdicts] == [{}] * (STAGE_DEATHS - 1) + [{1: EngineDied, 2: EngineDied}]
        assert [each.suspects for each in verdicts] == [set()] * STAGE_DEATHS
        assert "while it loaded model m (exit status 3)" in str(verdicts[-1].failed[0][1])
        assert [each.unloadable for each in verdicts] == [{}, {}, {"m": str(verdicts[-1].failed[0][1])}]

    def test_the_third_death_before_ready_fails_all_that_waits(self) -> None:
        judge, items = Judge(), _items(1) | _items(2, model="other")
        verdicts = [judge.judge(_death(was_ready=False), items) for _ in range(STAGE_DEATHS)]
        assert [_failed(each) for each in verdicts] == [{}] * (STAGE_DEATHS - 1) + [{1: EngineDied, 2: EngineDied}]
        assert "cannot start (exit status 3)" in str(verdicts[-1].failed[0][1])

    @pytest.mark.parametrize(
        ("death", "works"),
        [
            (_death(was_ready=False), Judge.started),
            (_death(_running("load", 1)), lambda judge: judge.loaded("m")),
        ],
        ids=["starting", "loading"],
    )
    def test_a_stage_that_worked_once_starts_to_count_anew(self, death: Death, works: Callable[[Judge], None]) -> None:
        judge = Judge()
        for _ in range(STAGE_DEATHS - 1):
            judge.judge(death, _items(1))
        works(judge)
        verdicts = [judge.judge(death, _items(1)) for _ in range(STAGE_DEATHS)]
        assert [bool(each.failed) for each in verdicts] == [False] * (STAGE_DEATHS - 1) + [True]

    def test_deaths_of_two_models_do_not_add_up(self) -> None:
        judge, items = Judge(), _items(1) | _items(2, model="other")
        for _ in range(STAGE_DEATHS - 1):
            assert not judge.judge(_death(_running("load", 1)), items).failed
            assert not judge.judge(_death(_running("load", 2, model="other")), items).failed

    def test_after_a_failure_the_next_items_get_as_many_tries(self) -> None:
        judge, death = Judge(), _death(was_ready=False)
        verdicts = [judge.judge(death, _items(1)) for _ in range(2 * STAGE_DEATHS)]
        assert [bool(each.failed) for each in verdicts] == ([False] * (STAGE_DEATHS - 1) + [True]) * 2


def _crash(group: Sequence[int]) -> Death:
    return _death(_running("infer", *group), sent=group)


def _crash_between_stages(group: Sequence[int]) -> Death:
    return _death(sent=group)


def _hang(group: Sequence[int]) -> Death:
    return _death(_running("infer", *group), overdue=_running("infer", *group), sent=group)


def _play(size: int, guilty: Collection[int], die: Callable[[Sequence[int]], Death]) -> tuple[Judgement, int]:
    """Run groups as a supervisor does, in an engine that dies of each guilty item."""
    judge, items, deaths, failed = Judge(), _items(*range(size)), 0, dict[int, type[Exception]]()
    group = list(items)
    while True:
        group = [each for each in group if each in items]
        if any(each in guilty for each in group):
            deaths += 1
            verdict = judge.judge(die(group), items)
            assert verdict.suspects | _failed(verdict).keys() == set(group), "an item is out of sight"
            failed |= _failed(verdict)
            answered: Collection[int] = _failed(verdict)
        else:
            answered = group
        for each in answered:
            judge.suspects.forget(each)
            del items[each]
        if not judge.suspects:
            assert not items, "an item got no outcome"
            return failed, deaths
        group = judge.suspects.take()


deaths = st.sampled_from(
    [(_crash, EngineDied, 2), (_crash_between_stages, EngineDied, 2), (_hang, TimeLimitExceeded, 1)]
)


@given(st.integers(1, 300), deaths, st.data())
def test_one_guilty_item_is_found_within_log2_plus_two_deaths(
    size: int, death: tuple[Callable[[Sequence[int]], Death], type[Exception], int], data: st.DataObject
) -> None:
    die, error, deaths_alone = death
    guilty = data.draw(st.integers(0, size - 1))
    failed, count = _play(size, {guilty}, die)
    assert failed == {guilty: error}
    assert count <= math.ceil(math.log2(size)) + deaths_alone


@given(st.integers(1, 64), deaths, st.data())
def test_every_guilty_item_fails_and_no_innocent_one(
    size: int, death: tuple[Callable[[Sequence[int]], Death], type[Exception], int], data: st.DataObject
) -> None:
    die, error, deaths_alone = death
    guilty = data.draw(st.sets(st.integers(0, size - 1)))
    failed, count = _play(size, guilty, die)
    assert failed == dict.fromkeys(guilty, error)
    assert count <= len(guilty) * (math.ceil(math.log2(size)) + deaths_alone)
