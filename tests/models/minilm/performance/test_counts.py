"""What MiniLM computes, counted: forwards, tokens, padding, bytes."""

import numpy as np
import pytest

from headrace.memory.plan import plan_batches
from headrace.sdk import Item, ModelPluginInterface, Prepared
from headrace.sdk.testing import RecordingAttention, infer
from plugin_pkgs.minilm.plugin import MiniLMPlugin
from tests.models.minilm.conftest import load

FLOAT32, BFLOAT16 = 4, 2
PARAMETERS = 22_565_376
#: Tokens are filled up to a multiple of this.
MULTIPLE = 32


@pytest.fixture
def prepared(plugin: ModelPluginInterface, sample: list[str]) -> list[Prepared]:
    return plugin.prepare([Item(input={"text": text}) for text in sample])


def _plan(plugin: ModelPluginInterface, prepared: list[Prepared]) -> list[list[Prepared]]:
    batches = plan_batches(
        [each.size for each in prepared],
        max_batch_size=plugin.config.max_batch_size,
        max_batch_tokens=plugin.config.max_batch_tokens,
    )
    return [[prepared[position] for position in batch] for batch in batches]


def test_a_batch_is_one_forward_and_hardly_a_token_of_padding(plugin: MiniLMPlugin, prepared: list[Prepared]) -> None:
    assert plugin.encoder is not None
    forwards, tokens = plugin.encoder.forwards, plugin.encoder.tokens
    batches = _plan(plugin, prepared)
    for batch in batches:
        plugin.infer(batch)
    assert plugin.encoder.forwards - forwards == len(batches)
    padding = plugin.encoder.tokens - tokens - sum(each.size for each in prepared)
    assert 0 <= padding < MULTIPLE * len(batches)


def test_shards_are_one_forward_each_and_hardly_a_token_more(prepared: list[Prepared]) -> None:
    sharded = load(dtype="float32", shards=2)
    assert isinstance(sharded, MiniLMPlugin)
    assert sharded.encoder is not None
    batches = _plan(sharded, prepared)
    for batch in batches:
        sharded.infer(batch)
    assert sharded.encoder.forwards == sum(min(2, len(batch)) for batch in batches)
    padding = sharded.encoder.tokens - sum(each.size for each in prepared)
    assert 0 <= padding < MULTIPLE * sharded.encoder.forwards
    sharded.cleanup()


def test_batches_are_near_the_budget(plugin: MiniLMPlugin, prepared: list[Prepared]) -> None:
    budget = plugin.config.max_batch_tokens
    assert budget is not None
    many = prepared * 8
    full = sum(each.size for each in many) / budget
    assert len(_plan(plugin, many)) <= 1.5 * full + 1


def test_attention_is_called_once_a_layer_with_all_sequences(
    plugin: MiniLMPlugin, prepared: list[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = RecordingAttention()
    monkeypatch.setattr(plugin, "attention", fake)
    batch = prepared[:10]
    plugin.infer(batch)
    sizes = [each.size for each in batch]
    filled = -(-sum(sizes) // MULTIPLE) * MULTIPLE
    assert fake.calls == [(filled, 11, max(sizes))] * 6


def test_an_output_takes_four_bytes_a_number(plugin: MiniLMPlugin, prepared: list[Prepared]) -> None:
    outputs = infer(plugin, prepared[:4])
    assert [output.nbytes for output in outputs] == [384 * FLOAT32] * 4
    assert outputs[0].base.nbytes == 4 * 384 * np.float32().nbytes


def test_weights_are_held_once_and_as_large_as_announced(plugin: MiniLMPlugin) -> None:
    assert plugin.encoder is not None
    assert plugin.encoder.weight_bytes == PARAMETERS * FLOAT32
    assert plugin.footprint().weights == PARAMETERS * FLOAT32


def test_bfloat16_halves_the_weights() -> None:
    half = load(dtype="bfloat16")
    assert isinstance(half, MiniLMPlugin)
    assert half.encoder is not None
    assert half.encoder.weight_bytes == half.footprint().weights == PARAMETERS * BFLOAT16


def test_cleanup_lets_the_weights_go() -> None:
    import gc
    import weakref

    plugin = load(dtype="float32")
    assert isinstance(plugin, MiniLMPlugin)
    assert plugin.encoder is not None
    encoder = weakref.ref(plugin.encoder._words)
    plugin.cleanup()
    gc.collect()
    assert encoder() is None
