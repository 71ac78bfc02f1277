"""Attention over a paged KV cache, sequence by sequence, on CPUs and wherever torch runs.

Registered with transformers as `headrace_paged`: a model that was loaded with it takes a `Step` as `paged=` beside
its tokens, writes the keys and values of these into the cache, and attends to what each sequence has there.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from headrace.sdk.generation.cache import KVCache, Place

NAME = "headrace_paged"


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens of one sequence in a step: `begin` to `end` of all of them, behind `past` that are cached."""

    begin: int
    end: int
    past: int
    #: Where it is in the cache.
    place: Place


@dataclass(frozen=True, slots=True)
class Step:
    """What one forward pass runs."""

    cache: KVCache
    spans: list[Span]
    #: Place in the cache of each token, (tokens).
    slots: Tensor


def paged_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None, *, paged: Step, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend.

    Args:
        module: The layer, which knows its number.
        query: (1, heads, tokens, head_dim), all sequences one after the other; keys and values have fewer heads.
        key: (1, kv_heads, tokens, head_dim).
        value: As `key`.
        paged: What runs, and its cache.
        **kwargs: `scaling`; the rest concerns other implementations.

    Returns:
        (1, tokens, heads, head_dim), and no weights.
    """
    layer = paged.cache.layers[module.layer_idx]
    layer.write(paged.slots, key[0].transpose(0, 1), value[0].transpose(0, 1))
    out = torch.empty((query.shape[2], query.shape[1], value.shape[3]), dtype=query.dtype, device=query.device)
    for span in paged.spans:
        keys, values = layer.read(span.place, span.past + span.end - span.begin)
        attend = _attend_one if span.end - span.begin == 1 else _attend_many
        attend(
            query[:, :, span.begin : span.end], keys, values, span.past, kwargs["scaling"], out[span.begin : span.end]
        )
    return out[None], None


def _attend_one(query: Tensor, keys: Tensor, values: Tensor, _past: int, scaling: float, out: Tensor) -> None:
    """One token sees all: the heads that share keys are as many queries, and nothing is repeated."""
    kv_heads = keys.shape[0]
    grouped = query.reshape(1, kv_heads, -1, query.shape[3])
    attended = scaled_dot_product_attention(grouped, keys[None], values[None], scale=scaling)
    out.copy_(attended.reshape(out.shape))


def _attend_many(query: Tensor, keys: Tensor, values: Tensor, past: int, scaling: float, out: Tensor) -> None:
    count, repeats = query.shape[2], query.shape[1] // keys.shape[0]
    # Performance: without a mask where nothing is cached before.
    mask = None if past == 0 else _causal(count, past, query.device)
    attended = scaled_dot_product_attention(
        query,
        keys.repeat_interleave(repeats, 0)[None],
        values.repeat_interleave(repeats, 0)[None],
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
    )
    out.copy_(attended[0].transpose(0, 1))


def _causal(count: int, past: int, device: torch.device) -> Tensor:
    """Which of `past + count` tokens each of the last `count` sees."""
    return torch.ones(count, past + count, dtype=torch.bool, device=device).tril(past)


AttentionInterface.register(NAME, paged_attention)
# Each sequence sees its own tokens only: there is nothing to mask.
AttentionMaskInterface.register(NAME, lambda *_, **__: None)
