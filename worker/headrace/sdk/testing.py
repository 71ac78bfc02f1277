"""Tests that a plugin inherits, and fakes; needs pytest."""

# ruff: noqa: D102  a test's name states the behaviour

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jsonschema_rs
import numpy as np
import orjson
import pytest
from pydantic import ValidationError

from headrace.errors import HeadraceError
from headrace.sdk.attention import AttentionStrategy, PackedAttention
from headrace.sdk.device import Device
from headrace.sdk.loading import build_config, import_plugin_class, import_root
from headrace.sdk.manifest import PluginManifest, read_manifest
from headrace.sdk.messages import Item, Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface


class PluginContract:
    """What every plugin promises, as tests; a subclass says which plugin and which inputs.

    Example:
        >>> class TestUpper(PluginContract):
        ...     manifest_path = Path("upper/plugin_manifest.json")
        ...     good_items = ({"text": "a"}, {"text": "be"})
        ...     bad_items = ({"text": 1}, {})
    """

    #: The plugin's manifest.
    manifest_path: ClassVar[Path]
    #: Inputs, or Items where params matter, that the model takes: two at least, and of several sizes.
    good_items: ClassVar[Sequence[Any]]
    #: Inputs that `prepare` must refuse.
    bad_items: ClassVar[Sequence[Any]] = ()
    #: Values of the user's `[models.<name>]` table.
    overrides: ClassVar[dict[str, Any]] = {}
    device: ClassVar[Device] = Device("cpu")
    #: Largest difference between two runs' outputs, relative to the numbers or absolute.
    tolerance: ClassVar[float] = 1e-5

    @pytest.fixture(scope="class")
    @classmethod
    def manifest(cls) -> PluginManifest:
        """The plugin's manifest, read."""
        return read_manifest(cls.manifest_path)

    @pytest.fixture(scope="class")
    @classmethod
    def attention(cls) -> AttentionStrategy | None:
        """What a plugin with `uses_attention` gets; override it for such a plugin."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls, manifest: PluginManifest, attention: AttentionStrategy | None) -> Iterator[ModelPluginInterface]:
        """The plugin, loaded as the engine loads it; one for all tests of the class."""
        plugin = create_plugin(cls.manifest_path, cls.device, cls.overrides)
        plugin.attention = attention
        plugin.load_model()
        yield plugin
        plugin.cleanup()

    def test_it_runs_on_the_device_that_it_is_tested_on(self, manifest: PluginManifest) -> None:
        assert self.device.kind in manifest.devices

    def test_the_good_items_fit_the_input_schema(self, manifest: PluginManifest) -> None:
        for item in _items(self.good_items):
            jsonschema_rs.validate(manifest.input_schema, item.input)

    def test_the_configuration_refuses_unknown_keys(self, plugin: ModelPluginInterface) -> None:
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            plugin.config_class.model_validate({"no_such_key": 1})

    def test_the_configuration_cannot_be_changed(self, plugin: ModelPluginInterface) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            plugin.config.max_batch_size = 1

    def test_preparing_nothing_gives_nothing(self, plugin: ModelPluginInterface) -> None:
        assert plugin.prepare([]) == []

    def test_good_items_are_prepared_with_a_size(self, plugin: ModelPluginInterface) -> None:
        prepared = plugin.prepare(_items(self.good_items))
        assert len(prepared) == len(self.good_items)
        assert [each.error for each in prepared] == [None] * len(prepared)
        assert all(each.size >= 1 for each in prepared)

    def test_bad_items_are_refused_by_an_error_of_their_own(self, plugin: ModelPluginInterface) -> None:
        good = _items(self.good_items)[0]
        mixed = [each for bad in _items(self.bad_items) for each in (bad, good)]
        prepared = plugin.prepare(mixed)
        assert len(prepared) == len(mixed)
        assert all(isinstance(each.error, HeadraceError) and str(each.error) for each in prepared[::2])
        assert [each.error for each in prepared[1::2]] == [None] * len(self.bad_items)

    def test_each_item_has_one_output(self, plugin: ModelPluginInterface) -> None:
        assert len(self._outputs(plugin)) == len(self.good_items)

    def test_outputs_fit_the_output_schema(self, plugin: ModelPluginInterface, manifest: PluginManifest) -> None:
        for output in self._outputs(plugin):
            jsonschema_rs.validate(manifest.output_schema, as_json(output))

    def test_an_item_alone_has_the_output_that_it_has_in_a_batch(self, plugin: ModelPluginInterface) -> None:
        alone = [infer(plugin, [each])[0] for each in plugin.prepare(_items(self.good_items))]
        self.assert_close(alone, self._outputs(plugin))

    def test_outputs_follow_the_order_of_the_batch(self, plugin: ModelPluginInterface) -> None:
        prepared = plugin.prepare(_items(self.good_items))
        backwards = infer(plugin, prepared[::-1])
        self.assert_close(backwards[::-1], infer(plugin, prepared))

    def test_a_batch_can_be_run_again(self, plugin: ModelPluginInterface) -> None:
        prepared = plugin.prepare(_items(self.good_items))
        self.assert_close(infer(plugin, prepared), infer(plugin, prepared))

    def test_it_works_again_after_cleanup_and_another_load(self, plugin: ModelPluginInterface) -> None:
        before = self._outputs(plugin)
        plugin.cleanup()
        plugin.load_model()
        self.assert_close(self._outputs(plugin), before)

    def test_it_says_what_memory_it_expects(self, plugin: ModelPluginInterface) -> None:
        footprint = plugin.footprint()
        assert footprint.weights >= 0
        assert footprint.per_unit >= 0

    def assert_close(self, actual: Sequence[Any], expected: Sequence[Any]) -> None:
        """Compare outputs up to `tolerance`; override it for outputs that need another measure."""
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(as_json(one), as_json(other), self.tolerance)

    def _outputs(self, plugin: ModelPluginInterface) -> list[Any]:
        return infer(plugin, plugin.prepare(_items(self.good_items)))


class RecordingAttention(PackedAttention):
    """A fake that gives each token its own value back and keeps the shapes that it was asked for."""

    name = "recording"

    def __init__(self) -> None:
        #: `(total_tokens, sequences, max_seqlen)` of each call.
        self.calls: list[tuple[int, int, int]] = []

    def varlen(self, q: Any, k: Any, v: Any, cu_seqlens: Any, max_seqlen: int) -> Any:
        """Record the call; see `PackedAttention.varlen`."""
        self.calls.append((len(q), len(cu_seqlens) - 1, max_seqlen))
        return v.contiguous()


def create_plugin(
    manifest_path: Path, device: Device | None = None, overrides: dict[str, Any] | None = None
) -> ModelPluginInterface:
    """Import, configure and initialise the plugin of a manifest, by default for the CPU."""
    path = Path(manifest_path).resolve()
    manifest = read_manifest(path)
    plugin_class = import_plugin_class(manifest, path.parent, import_root(path.parent, manifest.module))
    plugin = plugin_class()
    plugin.initialize(build_config(plugin_class, manifest, path.parent, overrides), device or Device("cpu"))
    return plugin


def infer(plugin: ModelPluginInterface, prepared: Sequence[Prepared]) -> list[Any]:
    """Run items in batches of at most `max_batch_size` and return their outputs."""
    size = plugin.config.max_batch_size or max(1, len(prepared))
    outcomes: list[Outcome] = []
    for begin in range(0, len(prepared), size):
        batch = prepared[begin : begin + size]
        answered = plugin.infer(batch)
        assert len(answered) == len(batch), f"{len(batch)} items in, {len(answered)} outcomes out"
        outcomes += answered
    assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
    return [outcome.output for outcome in outcomes]


def as_json(output: Any) -> Any:
    """An output as a client gets it in JSON: arrays are lists."""
    return orjson.loads(orjson.dumps(output, option=orjson.OPT_SERIALIZE_NUMPY, default=_array_as_list))


def assert_same(actual: Any, expected: Any, tolerance: float) -> None:
    """Assert that two JSON values are equal, numbers up to a relative or absolute tolerance."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(actual[key], value, tolerance)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other, tolerance)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=tolerance, abs=tolerance)
    else:
        assert actual == expected


def _items(values: Sequence[Any]) -> list[Item]:
    return [value if isinstance(value, Item) else Item(input=value) for value in values]


def _array_as_list(value: Any) -> Any:
    # What orjson doesn't write by itself: arrays that are not contiguous, or of float16.
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON value")
