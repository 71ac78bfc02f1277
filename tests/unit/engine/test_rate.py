"""Rate: windows that follow it."""

import pytest

from headrace.engine.rate import Rate, window_size


def test_the_window_follows_the_rate_within_bounds() -> None:
    assert [window_size(rate) for rate in (0.1, 100.0, 1e9)] == [8, 100, 1024]


def test_the_rate_is_a_ratio_of_sums() -> None:
    rate = Rate()
    assert rate.value is None
    rate.add(100, 1.0)
    rate.add(1, 0.01)
    assert rate.value == pytest.approx(100)
