"""SmolLM2 with its real weights: it answers, and many at once get the texts that each gets alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from headrace.sdk import Item, ModelPluginInterface
from headrace.sdk.testing import create_plugin, infer
from tests.models.smollm2.conftest import MANIFEST

QUESTIONS = [
    f"{what} {whom}?"
    for what in ("What is", "Tell me about", "Who needs", "Where is")
    for whom in ("a mill", "Paris", "water")
]


@pytest.fixture(scope="module")
def plugin(weights: Path) -> Iterator[ModelPluginInterface]:
    plugin = create_plugin(MANIFEST, overrides={"dtype": "float32"})
    plugin.load_model()
    yield plugin
    plugin.cleanup()


def _chat(text: str, **params: Any) -> Item:
    return Item(input={"messages": [{"role": "user", "content": text}]}, params=params)


def test_it_knows_the_capital_of_france(plugin: ModelPluginInterface) -> None:
    (told,) = infer(plugin, plugin.prepare([_chat("What is the capital of France?", max_tokens=16)]))
    assert told["text"] == "The capital of France is Paris."
    assert told["finish_reason"] == "stop"
    assert told["usage"] == {"prompt_tokens": 37, "completion_tokens": 8}


def test_texts_of_many_are_those_of_generate_alone(plugin: ModelPluginInterface, weights: Path) -> None:
    items = plugin.prepare([_chat(each, max_tokens=4 + 3 * number) for number, each in enumerate(QUESTIONS)])
    told = infer(plugin, items)
    auto_class: Any = AutoModelForCausalLM
    plain = auto_class.from_pretrained(weights, dtype=torch.float32)
    for item, each in zip(items, told, strict=True):
        prompt = torch.tensor([item.data.prompt])
        every = torch.ones_like(prompt)
        most = item.data.params.max_tokens
        ids = plain.generate(prompt, attention_mask=every, max_new_tokens=most, do_sample=False)
        assert each["tokens"] == ids[0, prompt.shape[1] :].tolist()


def test_a_seed_repeats_a_text_beside_whomever(plugin: ModelPluginInterface) -> None:
    asked = _chat("Tell me a story.", max_tokens=12, temperature=0.9, seed=11, top_k=50, top_p=0.95)
    (alone,) = infer(plugin, plugin.prepare([asked]))
    beside = infer(plugin, plugin.prepare([_chat("Hi", max_tokens=9), asked, _chat("Bye", max_tokens=20)]))
    assert beside[1]["text"] == alone["text"]
