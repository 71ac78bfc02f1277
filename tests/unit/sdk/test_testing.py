"""PluginContract: a good plugin passes it, and it tells what is wrong with a bad one."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.sdk import Device, ModelPluginInterface, Outcome, Prepared
from headrace.sdk.config import BaseConfig
from headrace.sdk.testing import PluginContract, RecordingAttention, as_json, create_plugin
from tests.utils.plugins import write_plugin

PLUGINS = Path(__file__).parents[2] / "plugins"


class TestFaultyPluginUnprovoked(PluginContract):
    manifest_path = PLUGINS / "faulty" / "plugin_manifest.json"
    good_items = ({"text": "a"}, {"text": "be", "do": "echo"}, {"text": ""})
    bad_items = ({"text": "c", "do": "refuse"},)


class _Broken(ModelPluginInterface):
    """Answers in reverse order, or one too few."""

    def __init__(self, *, short: bool = False) -> None:
        self.short = short
        self.initialize(BaseConfig(), Device("cpu"))

    def load_model(self) -> None: ...

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        outcomes = [Outcome(output=item.data) for item in reversed(batch)]
        return outcomes[1:] if self.short else outcomes

    def cleanup(self) -> None: ...


class _Contract(PluginContract):
    good_items = ("a", "b")
    bad_items = (1,)


def test_a_wrong_order_fails_the_contract() -> None:
    with pytest.raises(AssertionError):
        _Contract().test_an_item_alone_has_the_output_that_it_has_in_a_batch(_Broken())


def test_a_wrong_number_of_outcomes_fails_the_contract() -> None:
    with pytest.raises(AssertionError, match="2 items in, 1 outcomes out"):
        _Contract().test_each_item_has_one_output(_Broken(short=True))


def test_a_bad_item_that_is_prepared_fails_the_contract() -> None:
    with pytest.raises(AssertionError):
        _Contract().test_bad_items_are_refused_by_an_error_of_their_own(_Broken())


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (np.ones(2, np.float32), [1.0, 1.0]),
        (np.ones((2, 2), np.float16)[:, 0], [1.0, 1.0]),
        ({"score": np.float32(0.5)}, {"score": 0.5}),
        ("text", "text"),
    ],
)
def test_arrays_become_lists(output: Any, expected: Any) -> None:
    assert as_json(output) == expected


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        as_json(object())


def test_numbers_are_compared_up_to_a_tolerance() -> None:
    contract = _Contract()
    contract.assert_close([{"a": [1.0, "b"]}], [{"a": [1.0 + 1e-7, "b"]}])
    with pytest.raises(AssertionError):
        contract.assert_close([{"a": [1.0]}], [{"a": [1.1]}])


def test_a_plugin_is_created_from_its_manifest_alone(tmp_path: Path, clean_imports: None) -> None:
    plugin = create_plugin(write_plugin(tmp_path / "upper_alone"), overrides={"max_batch_size": 3})
    assert plugin.config.max_batch_size == 3
    assert plugin.device == Device("cpu")


def test_the_recording_attention_keeps_shapes() -> None:
    fake, v = RecordingAttention(), np.ones((5, 2, 4))
    fake.varlen(v, v, _Contiguous(v), np.array([0, 2, 5]), 3)
    assert fake.calls == [(5, 2, 3)]


class _Contiguous:
    def __init__(self, array: Any) -> None:
        self.array = array

    def contiguous(self) -> Any:
        return self.array


@pytest.fixture
def clean_imports() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before
