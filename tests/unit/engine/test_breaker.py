"""Breaker: pauses that double, one try after each, and an end with the first success."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.breaker import FIRST_PAUSE, LAST_PAUSE, Breaker
from tests.utils.clock import Clock


def test_what_has_failed_is_refused_until_its_pause_is_over() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    assert breaker.refusal("m") is None
    assert breaker.trip("m", "it died") == "it died; it is tried again in 30 s"
    clock.now += 20.0
    assert breaker.refusal("m") == "it died; it is tried again in 10 s"
    assert breaker.refusal("other") is None
    clock.now += 10.0
    assert breaker.refusal("m") is None
    assert breaker.tripped("m")


def test_a_success_ends_it() -> None:
    breaker = Breaker(Clock())
    breaker.trip("m", "it died")
    breaker.reset("m")
    breaker.reset("m")
    assert not breaker.tripped("m")
    assert breaker.refusal("m") is None


@given(failures=st.integers(1, 40))
def test_pauses_double_up_to_a_limit(failures: int) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(failures):
        breaker.trip("m", "it died")
    pause = min(LAST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1))
    clock.now += pause - 0.01
    assert breaker.refusal("m")
    clock.now += 0.02
    assert breaker.refusal("m") is None
