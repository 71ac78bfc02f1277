"""Demand: a rate that forgets."""

import pytest

from headrace.memory.demand import Demand


def test_nothing_arrived() -> None:
    assert Demand().rate(5.0) == 0.0


def test_steady_arrivals_give_their_rate() -> None:
    demand = Demand()
    for step in range(2400):
        demand.note(2, step / 4)
    assert demand.rate(600.0) == pytest.approx(8.0, rel=0.01)


def test_what_arrived_long_ago_is_forgotten() -> None:
    demand = Demand()
    demand.note(600, 0.0)
    assert demand.rate(60.0) == pytest.approx(demand.rate(0.0) / 2.718, rel=0.01)
    assert demand.rate(3600.0) == pytest.approx(0.0, abs=1e-9)
