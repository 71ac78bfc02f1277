"""Estimates: what was kept goes first, then what the plugin tells, then its files; what cannot be is nothing."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from headrace.engine.estimate import estimate
from headrace.memory.blocks import read_blocks
from headrace.memory.shape import Shape
from headrace.memory.store import Costs
from headrace.sdk import BaseConfig, Device, ModelPluginInterface, Outcome, Prepared
from headrace.sdk.messages import Footprint
from headrace.sdk.weights import WeightSource
from tests.utils.language_models import write_model


class Plugin(ModelPluginInterface):
    """Tells what the test wants."""

    def __init__(self, footprint: Footprint | None = None, **config: object) -> None:
        self.told = footprint or Footprint()
        self.initialize(BaseConfig.model_validate(config), Device("cpu"))

    def load_model(self) -> None: ...

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        return []

    def cleanup(self) -> None: ...

    def footprint(self) -> Footprint:
        return self.told


def test_nothing_is_known_of_a_plugin_that_tells_nothing() -> None:
    facts = estimate(Plugin(), Costs())
    assert (facts.weights, facts.least, facts.batch, facts.load_seconds, facts.resident) == (0, 0, 0, 0.0, False)


def test_what_was_kept_goes_before_what_the_plugin_tells_and_the_smaller_one_refuses() -> None:
    plugin = Plugin(Footprint(weights=50, per_unit=7), pinned=True, keep_alive=3.0)
    facts = estimate(plugin, Costs(weights=80, load_seconds=2.5))
    assert (facts.weights, facts.least, facts.load_seconds) == (80, 50, 2.5)
    assert (facts.batch, facts.pinned, facts.keep_alive) == (14, True, 3.0)
    told = estimate(plugin, Costs())
    assert (told.weights, told.least) == (50, 50)


def test_the_smallest_batch_is_told_by_those_that_were_kept() -> None:
    facts = estimate(Plugin(), Costs(memory=[(Shape(1, 1, 1), 1000.0)]))
    assert facts.batch >= 1000


@pytest.mark.parametrize("weights", [-5, 2**60])
@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf, 1e9])
def test_what_was_kept_and_cannot_be_counts_as_unknown(weights: int, seconds: float) -> None:
    facts = estimate(Plugin(Footprint(weights=50)), Costs(weights=weights, load_seconds=seconds))
    assert (facts.weights, facts.load_seconds) == (50, 0.0)


def test_files_tell_where_nothing_else_does_and_refuse_nobody(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    facts = estimate(Plugin(weights={"path": str(folder)}), Costs())
    assert (facts.weights, facts.least) == (sum(read_blocks(folder)), 0)
    missing = {"path": str(tmp_path / "nowhere")}
    assert estimate(Plugin(weights=missing), Costs()).weights == 0
    (tmp_path / "empty").mkdir()
    assert estimate(Plugin(weights={"path": str(tmp_path / "empty")}), Costs()).weights == 0


def test_what_a_hub_has_is_not_fetched_to_be_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert WeightSource(hub="nobody/nothing").find() is None
