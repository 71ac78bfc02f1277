"""MiniLM, loaded once for all of its tests."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from headrace.sdk import Device, Item, ModelPluginInterface
from headrace.sdk.testing import create_plugin, infer

ROOT = Path(__file__).parents[3]
MANIFEST = ROOT / "plugin_pkgs" / "minilm" / "plugin_manifest.json"
SAMPLE = ROOT / "benchmarks" / "data" / "sentences.jsonl"

Embed = Callable[[Sequence[str]], Any]


def load(**overrides: Any) -> ModelPluginInterface:
    """A loaded minilm plugin."""
    from headrace.attention import load_attention
    from headrace.hardware.profile import DeviceProfile

    plugin = create_plugin(MANIFEST, overrides=overrides)
    plugin.attention = load_attention(DeviceProfile(device=Device("cpu")), plugin.config.dtype)
    plugin.load_model()
    return plugin


def embed(plugin: ModelPluginInterface, texts: Sequence[str]) -> Any:
    """Vectors of texts, (n, 384)."""
    return np.stack(infer(plugin, plugin.prepare([Item(input={"text": text}) for text in texts])))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine make small batches many times slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def plugin() -> Iterator[ModelPluginInterface]:
    """MiniLM in float32, the same on every machine."""
    plugin = load(dtype="float32")
    yield plugin
    plugin.cleanup()


@pytest.fixture(scope="session")
def sample() -> list[str]:
    """The first forty sentences of the committed sample."""
    return [orjson.loads(line)["text"] for line in SAMPLE.read_bytes().splitlines()[:40]]


@pytest.fixture(scope="session")
def reference() -> Embed:
    """Embeds as the model's card says, with transformers alone, in float32."""
    import torch
    from transformers import AutoTokenizer, BertModel

    weights = create_plugin(MANIFEST).config.weights
    assert weights is not None
    folder = weights.resolve()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> Any:
        encoded = tokenizer(list(texts), padding=True, truncation=True, max_length=256, return_tensors="pt")
        mask = encoded["attention_mask"].unsqueeze(-1)
        mean = (model(**encoded).last_hidden_state * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=1).numpy()

    return embed
