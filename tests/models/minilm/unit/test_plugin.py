"""MiniLMPlugin: what it refuses, what it cuts off, which number type it takes."""

import numpy as np
import pytest
from pydantic import ValidationError

from headrace.errors import InvalidInput, SetupFailed, WeightsError
from headrace.sdk import Item, ModelPluginInterface, WeightSource
from headrace.sdk.testing import create_plugin
from plugin_pkgs.minilm.config import MiniLMConfig
from tests.models.minilm.conftest import MANIFEST, Embed, embed
from tests.utils.vectors import assert_cosine, assert_unit_length


def test_vectors_are_those_of_plain_transformers(
    plugin: ModelPluginInterface, reference: Embed, sample: list[str]
) -> None:
    texts = [*sample, ""]
    vectors = embed(plugin, texts)
    assert vectors.shape == (len(texts), 384)
    assert vectors.dtype == np.float32
    assert_unit_length(vectors)
    np.testing.assert_allclose(vectors, reference(texts), atol=2e-6)


def test_a_text_that_is_too_long_is_cut_where_plain_transformers_cuts_it(
    plugin: ModelPluginInterface, reference: Embed
) -> None:
    text = "word " * 500
    np.testing.assert_allclose(embed(plugin, [text]), reference([text]), atol=2e-6)


def test_texts_that_mean_the_same_are_near(plugin: ModelPluginInterface) -> None:
    river, stream, invoice = embed(
        plugin, ["The river turns the wheel.", "Water drives the mill.", "Please pay the invoice by Friday."]
    )
    assert river @ stream > 0.4 > river @ invoice


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, 'the field "text" is missing'),
        ("bare", 'the field "text" is missing'),
        ({"text": 3}, 'the field "text" must be a string, not int'),
        ({"text": "\udfff"}, 'the field "text" is no valid Unicode'),
    ],
)
def test_a_refusal_names_the_field(plugin: ModelPluginInterface, value: object, message: str) -> None:
    (prepared,) = plugin.prepare([Item(input=value)])
    assert isinstance(prepared.error, InvalidInput)
    assert message in str(prepared.error)


def test_an_items_size_is_its_number_of_tokens_and_ends_at_max_length(plugin: ModelPluginInterface) -> None:
    prepared = plugin.prepare([Item(input={"text": text}) for text in ("", "mill wheel", "mill " * 1000)])
    assert [each.size for each in prepared] == [2, 4, 256]
    assert [len(each.data) for each in prepared] == [2, 4, 256]


def test_params_are_carried(plugin: ModelPluginInterface) -> None:
    assert plugin.prepare([Item(input={"text": "a"}, params={"b": 1})])[0].params == {"b": 1}


def test_the_outputs_of_a_batch_share_one_array(plugin: ModelPluginInterface) -> None:
    prepared = plugin.prepare([Item(input={"text": text}) for text in "abc"])
    first, *others = [outcome.output for outcome in plugin.infer(prepared)]
    assert first.base is not None
    assert all(other.base is first.base for other in others)


def test_use_before_load_is_refused() -> None:
    with pytest.raises(SetupFailed, match="before load_model"):
        create_plugin(MANIFEST).prepare([Item(input={"text": "a"})])


def test_a_table_that_takes_the_weights_away_is_refused() -> None:
    plugin = create_plugin(MANIFEST, overrides={"weights": None})
    with pytest.raises(WeightsError, match=r"\[models\.minilm\.weights\]"):
        plugin.load_model()


def test_the_packaged_weights_are_pinned_by_hash() -> None:
    weights = create_plugin(MANIFEST).config.weights
    assert weights is not None
    assert {"model.safetensors", "tokenizer.json"} <= set(weights.sha256)
    tampered = WeightSource(package=weights.package, file=weights.file, sha256={"tokenizer.json": "0" * 64})
    with pytest.raises(WeightsError, match="has sha256"):
        tampered.resolve()


@pytest.mark.parametrize("length", [1, 513])
def test_a_length_that_the_model_has_no_positions_for_is_refused(length: int) -> None:
    with pytest.raises(ValidationError, match="max_length"):
        MiniLMConfig(max_length=length)


def test_bfloat16_keeps_the_direction(plugin: ModelPluginInterface, sample: list[str]) -> None:
    from tests.models.minilm.conftest import load

    assert_cosine(embed(load(dtype="bfloat16"), sample), embed(plugin, sample), at_least=0.999)
