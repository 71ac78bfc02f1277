"""A BERT encoder over packed sequences: no padding, so no work for nothing."""

import json
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import embedding, layer_norm, normalize

from headrace.sdk.attention import PackedAttention
from plugin_pkgs.minilm.dense import Dense, make_dense

#: Tokens of a full batch under the default configuration.
_USUAL_TOKENS = 1024
#: Packed batches are filled up to a multiple of so many tokens. For every other count of tokens, oneDNN makes
#: and keeps kernels anew: 2 MB and some milliseconds each.
_MULTIPLE = 32
#: Rows of a weight that are converted at once.
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm's gain and bias."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise each of (tokens, hidden)."""
        return layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Layer:
    """One encoder layer."""

    #: Query, key and value in one matrix: one large product instead of three.
    qkv: Dense
    attention_out: Dense
    attention_norm: Norm
    up: Dense
    down: Dense
    out_norm: Norm


@dataclass(frozen=True, slots=True)
class Packed:
    """Sequences one after the other."""

    #: Token ids, (tokens).
    ids: Tensor
    #: Position of each token in its own sequence, (tokens).
    positions: Tensor
    #: Number of the sequence that each token is in, (tokens).
    owners: Tensor
    #: Where each sequence begins, and the end of the last; int32, (sequences + 1).
    cu_seqlens: Tensor
    max_seqlen: int

    @classmethod
    def of(cls, sequences: list[list[int]], device: torch.device) -> "Packed":
        """Pack non-empty sequences of token ids."""
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        ends = lengths.cumsum(0)
        owners = torch.repeat_interleave(torch.arange(len(sequences)), lengths)
        positions = torch.arange(int(ends[-1])) - (ends - lengths)[owners]
        ids = torch.tensor([token for sequence in sequences for token in sequence])
        bounds = torch.cat([torch.zeros(1, dtype=torch.int64), ends]).to(torch.int32)
        return cls(
            ids=ids.to(device),
            positions=positions.to(device),
            owners=owners.to(device),
            cu_seqlens=bounds.to(device),
            max_seqlen=int(lengths.max()),
        )


def read_tensors(path: Path, *, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """The encoder's weights in a number type, with little memory beside them."""
    # numpy, since for torch the whole file counts as one tensor's memory; but numpy has no bfloat16.
    with safe_open(path, framework="np") as file:
        stored = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118  no mapping
    wanted = [name for name, kind in stored.items() if "F" in kind and not name.startswith("pooler.")]
    with safe_open(path, framework="pt" if "BF16" in stored.values() else "np") as file:
        return {name: _converted(file.get_slice(name), dtype=dtype, device=device) for name in wanted}


def _converted(stored: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    shape = stored.get_shape()
    tensor = torch.empty(shape, dtype=dtype, device=device)
    for begin in range(0, shape[0], _ROWS):
        end = min(begin + _ROWS, shape[0])
        tensor[begin:end] = torch.as_tensor(stored[begin:end])
    return tensor


class PackedEncoder:
    """BERT (https://arxiv.org/abs/1810.04805) without its pooler, then mean and unit length.

    Sentence-BERT (https://arxiv.org/abs/1908.10084) takes the mean of the token vectors.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device) -> None:
        config = json.loads((folder / "config.json").read_text())
        tensors = read_tensors(folder / "model.safetensors", dtype=dtype, device=device)
        self.weight_bytes = sum(tensor.nbytes for tensor in tensors.values())
        self.hidden_size: int = config["hidden_size"]
        self._heads: int = config["num_attention_heads"]
        eps: float = config["layer_norm_eps"]
        self._words = tensors["embeddings.word_embeddings.weight"]
        # Every token has type 0, so its vector is added to the positions once and for all.
        self._places = (
            tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _norm(tensors, "embeddings.LayerNorm", eps)
        self._layers = [_layer(tensors, f"encoder.layer.{each}", eps) for each in range(config["num_hidden_layers"])]
        self._device = device
        self._counting = Lock()
        #: Forward passes and tokens computed so far, what fills up to a multiple included.
        self.forwards = 0
        self.tokens = 0

    @torch.inference_mode()
    def embed(self, sequences: list[list[int]], attention: PackedAttention) -> Tensor:
        """Embed sequences of token ids.

        Args:
            sequences: Token ids with special tokens; none empty.
            attention: How the packed sequences attend.

        Returns:
            (sequences, hidden), float32, each of unit length.
        """
        filling = [0] * (-sum(map(len, sequences)) % _MULTIPLE)
        packed = Packed.of([*sequences, filling] if filling else sequences, self._device)
        # Shards embed on several threads at once.
        with self._counting:
            self.forwards += 1
            self.tokens += len(packed.ids)
        hidden = self._norm(embedding(packed.ids, self._words) + embedding(packed.positions, self._places))
        for layer in self._layers:
            hidden = self._forward(layer, hidden, packed, attention)
        return _mean_pool(hidden, packed)[: len(sequences)]

    def _forward(self, layer: Layer, x: Tensor, packed: Packed, attention: PackedAttention) -> Tensor:
        q, k, v = layer.qkv(x).view(len(x), 3, self._heads, -1).unbind(1)
        attended = attention.varlen(q, k, v, packed.cu_seqlens, packed.max_seqlen)
        x = layer.attention_norm(layer.attention_out.add(attended.view(x.shape), x))
        return layer.out_norm(layer.down.add(layer.up.gelu(x), x))


def _mean_pool(hidden: Tensor, packed: Packed) -> Tensor:
    # In float32: a sum of 256 bfloat16 numbers would lose most of its digits.
    lengths = packed.cu_seqlens.diff()
    sums = hidden.new_zeros(len(lengths), hidden.shape[1], dtype=torch.float32)
    sums.index_add_(0, packed.owners, hidden.float())
    # The mean has the sum's direction, so its division cancels in the normalisation.
    return normalize(sums, dim=1)


def _dense(tensors: MutableMapping[str, Tensor], *names: str) -> Dense:
    # Taken out, so that what is laid out anew does not stay twice.
    weight, bias = (torch.cat([tensors.pop(f"{name}.{part}") for name in names]) for part in ("weight", "bias"))
    return make_dense(weight, bias, tokens=_USUAL_TOKENS)


def _norm(tensors: MutableMapping[str, Tensor], name: str, eps: float) -> Norm:
    return Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)


def _layer(tensors: MutableMapping[str, Tensor], name: str, eps: float) -> Layer:
    attention = f"{name}.attention"
    return Layer(
        qkv=_dense(tensors, *(f"{attention}.self.{part}" for part in ("query", "key", "value"))),
        attention_out=_dense(tensors, f"{attention}.output.dense"),
        attention_norm=_norm(tensors, f"{attention}.output.LayerNorm", eps),
        up=_dense(tensors, f"{name}.intermediate.dense"),
        down=_dense(tensors, f"{name}.output.dense"),
        out_norm=_norm(tensors, f"{name}.output.LayerNorm", eps),
    )
