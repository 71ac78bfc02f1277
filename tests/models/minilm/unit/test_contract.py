"""MiniLM keeps the contract of every plugin, in both of its number types."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from headrace.attention import load_attention
from headrace.hardware.profile import DeviceProfile
from headrace.sdk import Device, Item
from headrace.sdk.attention import AttentionStrategy
from headrace.sdk.testing import PluginContract
from tests.utils.vectors import assert_cosine, assert_unit_length

GOOD = (
    {"text": "The mill wheel turns."},
    {"text": ""},
    {"text": "¿Dónde está la acequia? 水車 \u0000 🚰"},
    Item(input={"text": "rushing water " * 400}, params={"unused": 1}),
    {"text": "A short one."},
)
BAD = ({}, {"text": None}, {"text": 1}, {"text": ["a"]}, {"text": "\ud800"}, "a bare string", None, ["a", "list"])


class TestFloat32(PluginContract):
    manifest_path = Path(__file__).parents[4] / "plugin_pkgs" / "minilm" / "plugin_manifest.json"
    good_items = GOOD
    bad_items = BAD
    overrides: ClassVar[dict[str, Any]] = {"dtype": "float32"}

    @pytest.fixture(scope="class")
    @classmethod
    def attention(cls) -> AttentionStrategy:
        return load_attention(DeviceProfile(device=Device("cpu")))


class TestBfloat16(TestFloat32):
    overrides: ClassVar[dict[str, Any]] = {"dtype": "bfloat16"}

    def assert_close(self, actual: Sequence[Any], expected: Sequence[Any]) -> None:
        # Rounding depends on the batch's shape; the direction hardly does.
        assert_cosine(actual, expected, at_least=0.999)
        assert_unit_length(actual)
