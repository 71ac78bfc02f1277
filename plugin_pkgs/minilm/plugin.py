"""MiniLMPlugin: texts in, unit vectors of 384 numbers out."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from tokenizers import Tokenizer

from headrace.errors import InvalidInput, SetupFailed, WeightsError
from headrace.sdk.config import BaseConfig
from headrace.sdk.messages import Footprint, Item, Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface
from plugin_pkgs.minilm.config import MiniLMConfig
from plugin_pkgs.minilm.model import PackedEncoder

T = TypeVar("T")

#: CPU flags of hardware that multiplies in bfloat16.
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
#: Bytes that a token's activations take in one layer, roughly: 12 hidden-size vectors of float32.
_BYTES_PER_TOKEN = 12 * 384 * 4


class MiniLMPlugin(ModelPluginInterface):
    """Tokenises with the Rust tokenizer, runs packed batches, pools and normalises."""

    config_class: ClassVar[type[BaseConfig]] = MiniLMConfig
    uses_attention: ClassVar[bool] = True

    config: MiniLMConfig
    encoder: PackedEncoder | None = None
    _tokenizer: Tokenizer | None = None

    def load_model(self) -> None:
        """Read tokenizer and weights."""
        if self.config.weights is None:
            raise WeightsError("model minilm has no `weights`: name them under [models.minilm]")
        folder = self.config.weights.resolve()
        self._tokenizer = _tokenizer(folder, self.config.max_length)
        device = torch.device(self.device.torch_name)
        self.encoder = PackedEncoder(folder, dtype=self._dtype(), device=device)

    def _dtype(self) -> torch.dtype:
        if self.config.dtype != "auto":
            chosen: torch.dtype = getattr(torch, self.config.dtype)
            return chosen
        fast = self.device.kind == "cuda" or cpu_has_bf16()
        return torch.bfloat16 if fast else torch.float32

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        """Tokenise; the size of an item is its number of tokens."""
        texts = [_text_of(item) for item in items]
        tokenizer = _loaded(self._tokenizer)
        encodings = iter(tokenizer.encode_batch_fast([text for text in texts if text is not None]))
        return [
            _refused(item) if text is None else _prepared(item, next(encodings).ids)
            for item, text in zip(items, texts, strict=True)
        ]

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Embed a batch; each output is a float32 array of shape (384,)."""
        encoder, attention = _loaded(self.encoder), _loaded(self.attention)
        vectors = encoder.embed([item.data for item in batch], attention).cpu().numpy()
        return [Outcome(output=vector) for vector in vectors]

    def cleanup(self) -> None:
        """Drop weights and tokenizer."""
        self.encoder = self._tokenizer = None

    def footprint(self) -> Footprint:
        """Bytes of the weights, and of a token's activations."""
        weights = self.encoder.weight_bytes if self.encoder else 0
        return Footprint(weights=weights, per_unit=_BYTES_PER_TOKEN)


def _loaded(part: T | None) -> T:
    if part is None:
        raise SetupFailed("minilm is used before load_model")
    return part


def _text_of(item: Item) -> str | None:
    text = item.input.get("text") if isinstance(item.input, dict) else None
    return text if isinstance(text, str) else None


def _refused(item: Item) -> Prepared:
    return Prepared(
        params=item.params,
        error=InvalidInput('minilm takes {"text": a string}: the field text is missing or no string'),
    )


def _prepared(item: Item, ids: list[int]) -> Prepared:
    return Prepared(size=len(ids), data=ids, params=item.params)


def _tokenizer(folder: Path, max_length: int) -> Tokenizer:
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_length)
    tokenizer.no_padding()
    return tokenizer


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies in bfloat16; elsewhere it is emulated and slow."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    return not _BF16_FLAGS.isdisjoint(text.split())
