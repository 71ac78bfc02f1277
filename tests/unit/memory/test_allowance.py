"""Allowance: what may run, by what was claimed, measured and missed."""

import pytest

from headrace.memory.allowance import Allowance, Failure
from headrace.memory.shape import Shape

MIB = 2**20


def _allowance(**options: float) -> Allowance:
    return Allowance(lambda: 0.0, **options)


def _failure(shape: Shape, *, reached: int, tried: int, room: int) -> Failure:
    return Failure(shape=shape, reached=reached, tried=tried, room=room)


def test_what_nobody_knows_begins_with_one_item_and_grows_fourfold() -> None:
    allowance, largest = _allowance(), []
    for _ in range(4):
        count = max(each for each in range(1, 200) if allowance.fits(Shape(each, each * 8, 8), 100 * MIB))
        largest.append(count)
        allowance.learn(Shape(count, count * 8, 8), peak=count * 1000.0, seconds=0.1)
    assert largest == [1, 4, 16, 64]


def test_a_claim_is_doubted_by_half_until_something_was_measured() -> None:
    allowance = _allowance(per_unit=1000.0)
    assert allowance.fits(Shape(10, 10, 1), 20_000)
    assert not allowance.fits(Shape(11, 11, 1), 20_000)
    allowance.learn(Shape(4, 4, 1), peak=400.0, seconds=0.1)
    assert allowance.fits(Shape(16, 16, 1), 20_000)


def test_where_nothing_can_be_measured_the_claim_stays() -> None:
    allowance = _allowance(per_unit=1000.0)
    allowance.unmeasured = True
    assert allowance.fits(Shape(10, 10, 1), 20_000)
    assert not allowance.fits(Shape(11, 11, 1), 20_000)
    unclaimed = _allowance()
    unclaimed.unmeasured = True
    assert unclaimed.fits(Shape(1000, 1000, 1), 1)


def test_a_batch_that_failed_for_its_size_is_held_to_need_more_than_it_had() -> None:
    allowance, shape = _allowance(), Shape(8, 80, 10)
    for _ in range(20):
        allowance.learn(Shape(4, 40, 10), peak=4 * MIB, seconds=0.1)
    assert allowance.fits(shape, 20 * MIB)
    allowance.fail(_failure(shape, reached=15 * MIB, tried=10 * MIB, room=20 * MIB))
    assert not allowance.fits(shape, 20 * MIB)
    assert allowance.bound(shape) > 25 * MIB


def test_a_device_that_promises_more_than_it_gives_is_not_believed() -> None:
    allowance = _allowance()
    for count in [1, 2, 3, 4] * 5:
        allowance.learn(Shape(count, count * 10, 10), peak=count * MIB, seconds=0.1)
    large = Shape(16, 160, 10)
    for _ in range(2):
        allowance.fail(_failure(large, reached=6 * MIB, tried=4 * MIB, room=1000 * MIB))
    assert not allowance.fits(large, 1000 * MIB)
    assert allowance.fits(Shape(6, 60, 10), 1000 * MIB)


def test_a_failure_that_says_nothing_teaches_nothing() -> None:
    allowance, shape = _allowance(per_unit=1.0), Shape(4, 40, 10)
    allowance.fail(_failure(shape, reached=0, tried=0, room=100))
    assert allowance.fits(shape, 100)


def test_what_was_kept_from_another_time_is_thrown_away_when_it_no_longer_fits() -> None:
    old, shape = _allowance(), Shape(4, 40, 10)
    for _ in range(40):
        old.learn(shape, peak=1000.0, seconds=0.1)
    new = _allowance()
    new.restore(old.memory.kept, old.time.kept)
    assert new.bound(shape) == pytest.approx(1050, rel=0.01)
    new.learn(shape, peak=9000.0, seconds=0.1)
    assert new.memory.samples == 1
    assert new.bound(shape) >= 9000.0


def test_a_batch_that_ended_the_process_is_not_tried_again_and_its_half_is() -> None:
    allowance = _allowance(per_unit=1.0)
    death = Failure(shape=Shape(8, 80, 10), reached=0, tried=0, room=1000, silent=True)
    assert allowance.is_trial(death.shape)
    allowance.fail(death)
    assert [allowance.fits(Shape(items, items * 10, 10), 1000) for items in (1, 4, 5, 8)] == [True, True, False, False]
    allowance.succeeded(Shape(5, 50, 10))
    assert allowance.fits(Shape(5, 50, 10), 1000)


def test_what_was_measured_before_a_restart_is_no_trial_after_it() -> None:
    allowance = _allowance()
    allowance.restore([(Shape(8, 80, 10), 1000.0)], [])
    assert not allowance.is_trial(Shape(8, 80, 10))
    assert allowance.is_trial(Shape(9, 90, 10))


def test_how_long_a_batch_takes_is_told_once_some_were_timed() -> None:
    allowance = _allowance()
    for count in range(1, 8):
        allowance.learn(Shape(count, count * 10, 10), peak=1.0, seconds=0.1 * count)
    assert allowance.seconds(Shape(20, 200, 10)) == 0
    allowance.learn(Shape(8, 80, 10), peak=1.0, seconds=0.8)
    assert allowance.seconds(Shape(20, 200, 10)) == pytest.approx(2.0, rel=0.01)
