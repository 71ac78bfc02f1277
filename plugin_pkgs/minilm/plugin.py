"""MiniLMPlugin: texts in, unit vectors of 384 numbers out."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from tokenizers import Tokenizer

from headrace.errors import InvalidInput, SetupFailed, WeightsError
from headrace.sdk.attention import PackedAttention
from headrace.sdk.config import BaseConfig
from headrace.sdk.dtypes import choose_dtype
from headrace.sdk.messages import Footprint, Item, Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface
from plugin_pkgs.minilm.config import MiniLMConfig
from plugin_pkgs.minilm.model import PackedEncoder
from plugin_pkgs.minilm.shards import Shards

T = TypeVar("T")

#: Numbers in the weights: 30,522 words and 6 layers of 384.
_PARAMETERS = 22_565_376
#: Numbers per token that are alive at once: input, intermediate (four times as wide), output.
_ACTIVATIONS = 6 * 384


class MiniLMPlugin(ModelPluginInterface):
    """Tokenises with the Rust tokenizer, runs packed batches, pools and normalises."""

    config_class: ClassVar[type[BaseConfig]] = MiniLMConfig
    uses_attention: ClassVar[bool] = True
    loads_beside: ClassVar[bool] = True

    config: MiniLMConfig
    attention: PackedAttention | None = None
    encoder: PackedEncoder | None = None
    _tokenizer: Tokenizer | None = None
    #: None on a GPU, and where there would be one only.
    _shards: Shards | None = None

    def load_model(self) -> None:
        """Read tokenizer and weights."""
        if self.config.weights is None:
            raise WeightsError("model minilm has no weights: name them under [models.minilm.weights]")
        folder = self.config.weights.resolve()
        self._tokenizer = _tokenizer(folder, self.config.max_length)
        device = torch.device(self.device.torch_name)
        self.encoder = PackedEncoder(folder, dtype=choose_dtype(self.config.dtype, self.device), device=device)
        shards = self.config.shards or torch.get_num_threads()
        if self.device.kind == "cpu" and shards > 1:
            self._shards = Shards(self._embed, shards)

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        """Tokenise; the size of an item is its number of tokens."""
        problems = [_problem(item.input) for item in items]
        texts = [item.input["text"] for item, problem in zip(items, problems, strict=True) if problem is None]
        encodings = iter(_loaded(self._tokenizer).encode_batch_fast(texts))
        return [
            _prepared(item, next(encodings).ids) if problem is None else Prepared(params=item.params, error=problem)
            for item, problem in zip(items, problems, strict=True)
        ]

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Embed a batch; each output is a float32 array of shape (384,)."""
        embed = self._shards.embed if self._shards else self._embed
        vectors = embed([item.data for item in batch]).cpu().numpy()
        return [Outcome(output=vector) for vector in vectors]

    def _embed(self, sequences: list[list[int]]) -> torch.Tensor:
        return _loaded(self.encoder).embed(sequences, _loaded(self.attention))

    def cleanup(self) -> None:
        """Drop weights, tokenizer and threads."""
        if self._shards:
            self._shards.close()
        self.encoder = self._tokenizer = self._shards = None

    def sample(self, size: int) -> Prepared:
        """A text of so many tokens, as far as `max_length` allows; which ones costs no more and no less."""
        count = max(2, min(size, self.config.max_length))
        return Prepared(size=count, data=[0] * count)

    def footprint(self) -> Footprint:
        """Bytes of the weights, and of a token's activations."""
        itemsize = choose_dtype(self.config.dtype, self.device).itemsize
        return Footprint(weights=_PARAMETERS * itemsize, per_unit=_ACTIVATIONS * itemsize)


def _loaded(part: T | None) -> T:
    if part is None:
        raise SetupFailed("minilm is used before load_model, or without an attention strategy")
    return part


def _problem(value: object) -> InvalidInput | None:
    """Why an input can't be embedded; None if it can."""
    if not isinstance(value, dict) or "text" not in value:
        return InvalidInput('the field "text" is missing: minilm takes {"text": "..."}')
    text = value["text"]
    if not isinstance(text, str):
        return InvalidInput(f'the field "text" must be a string, not {type(text).__name__}')
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate: JSON can carry it, the tokenizer can't.
        return InvalidInput('the field "text" is no valid Unicode')
    return None


def _prepared(item: Item, ids: list[int]) -> Prepared:
    return Prepared(size=len(ids), data=ids, params=item.params)


def _tokenizer(folder: Path, max_length: int) -> Tokenizer:
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_length)
    tokenizer.no_padding()
    return tokenizer
