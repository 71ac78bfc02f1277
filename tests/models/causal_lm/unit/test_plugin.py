"""What a text is made of: stop strings, ends, counts, log-probabilities."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import MistralConfig

from headrace.attention.paged_eager import PagedEagerAttention
from headrace.errors import WeightsError
from headrace.sdk import AttentionNeed, Item, ModelPluginInterface, WeightSource
from headrace.sdk.generation.need import need_of
from headrace.sdk.testing import create_plugin, infer
from tests.utils.language_models import write_model, write_tokenizer

MANIFEST = Path(__file__).parents[4] / "plugin_pkgs" / "causal_lm" / "plugin_manifest.json"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelPluginInterface]:
    folder = write_tokenizer(write_model(tmp_path_factory.mktemp("weights"), width=64))
    plugin = create_plugin(MANIFEST, overrides={"weights": {"path": str(folder)}, "dtype": "float32"})
    plugin.load_model()
    yield plugin
    plugin.cleanup()


def _ask(plugin: ModelPluginInterface, prompt: Any, **params: Any) -> dict[str, Any]:
    prepared = plugin.prepare([Item(input={"prompt": prompt}, params=params)])
    assert prepared[0].error is None
    (output,) = infer(plugin, prepared)
    return dict(output)


def test_a_text_is_cut_before_the_first_stop_string(plugin: ModelPluginInterface) -> None:
    # A temperature makes this model's random weights say something that can be read.
    whole = next(
        told
        for seed in range(50)
        if len((told := _ask(plugin, "Once", max_tokens=40, temperature=9.0, seed=seed))["text"]) > 3
    )
    stop = whole["text"][2]
    seed = next(seed for seed in range(50) if _ask(plugin, "Once", max_tokens=40, temperature=9.0, seed=seed) == whole)
    cut = _ask(plugin, "Once", max_tokens=40, temperature=9.0, seed=seed, stop=[stop, "no such text"])
    assert (cut["text"], cut["finish_reason"]) == (whole["text"][: whole["text"].index(stop)], "stop")
    assert cut["tokens"] == whole["tokens"][: len(cut["tokens"])]


def test_a_stop_string_is_seen_whole_whose_characters_are_several_tokens_each(plugin: ModelPluginInterface) -> None:
    stop = "水車" * 6
    (item,) = plugin.prepare([Item(input={"prompt": "a"}, params={"stop": stop})])
    tokens = plugin.prepare([Item(input={"prompt": stop})])[0].data.prompt
    assert len(tokens) == 3 * len(stop)
    assert item.data.is_stop([5] * 9 + tokens)
    assert not item.data.is_stop([5] * 9 + tokens[:-1])


def test_counts_are_those_of_prompt_and_text(plugin: ModelPluginInterface) -> None:
    told = _ask(plugin, [5, 6, 7], max_tokens=4)
    assert told["usage"] == {"prompt_tokens": 3, "completion_tokens": len(told["tokens"])}
    assert told["finish_reason"] in ("length", "stop")


def test_log_probabilities_come_where_they_are_asked_for(plugin: ModelPluginInterface) -> None:
    told = _ask(plugin, [5, 6, 7], max_tokens=4, logprobs=2)
    assert [len(each["top"]) for each in told["logprobs"]] == [2] * len(told["tokens"])
    assert all(each["logprob"] <= 0 for each in told["logprobs"])
    assert "logprobs" not in _ask(plugin, [5, 6, 7], max_tokens=4)


def test_it_asks_for_attention_as_its_configuration_says(plugin: ModelPluginInterface, tmp_path: Path) -> None:
    assert plugin.uses_attention
    assert plugin.attention_need() == AttentionNeed(layout="paged", head_dim=64)
    MistralConfig(sliding_window=64, head_dim=32).save_pretrained(tmp_path)
    assert need_of(WeightSource(path=tmp_path)) == AttentionNeed(layout="paged", head_dim=32, has_windows=True)
    # What is not here yet is not fetched to look.
    for source in (None, WeightSource(path=tmp_path / "nowhere"), WeightSource(hub="nobody/nothing")):
        assert need_of(source) == AttentionNeed(layout="paged")


def test_it_is_loaded_with_the_attention_that_it_is_given(plugin: ModelPluginInterface) -> None:
    other = create_plugin(MANIFEST, overrides={"weights": plugin.config.weights, "dtype": "float32"})
    other.attention = PagedEagerAttention()
    other.load_model()
    assert other._model._model.config._attn_implementation == "headrace_paged_eager"
    assert _ask(other, "Once", max_tokens=8) == _ask(plugin, "Once", max_tokens=8)
    other.cleanup()


def test_without_weights_it_says_where_to_name_them() -> None:
    with pytest.raises(WeightsError, match=r"\[models\.<name>\.weights\]"):
        create_plugin(MANIFEST).load_model()
