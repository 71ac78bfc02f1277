"""PagedEagerAttention: plain products and a softmax over a paged cache, sequence by sequence."""

import torch
from torch import Tensor

from headrace.attention.paged import RegisteredAttention
from headrace.sdk.generation.attention import Step
from headrace.sdk.generation.cache import KVLayer


class PagedEagerAttention(RegisteredAttention):
    """The slowest one, which asks nothing of torch but products; scores take tokens times tokens of memory."""

    def __init__(self) -> None:
        """Make it known to transformers."""
        super().__init__("paged|eager", "headrace_paged_eager")

    def attend(self, layer: KVLayer, query: Tensor, step: Step, scaling: float) -> Tensor:
        """Attend; see `RegisteredAttention.attend`."""
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        for span in step.spans:
            keys, values = layer.read(span.place, span.past + span.end - span.begin)
            out[span.begin : span.end] = _attend(query[span.begin : span.end], keys, values, span.past, scaling)
        return out


def _attend(query: Tensor, keys: Tensor, values: Tensor, past: int, scaling: float) -> Tensor:
    """One sequence: queries (tokens, heads, head_dim), keys and values (kv_heads, past + tokens, head_dim)."""
    count, heads, width = query.shape
    kv_heads, total = keys.shape[:2]
    # (kv_heads, heads that share keys, tokens, head_dim)
    grouped = query.transpose(0, 1).reshape(kv_heads, heads // kv_heads, count, width)
    scores = grouped @ keys[:, None].transpose(2, 3) * scaling
    seen = torch.ones(count, total, dtype=torch.bool, device=query.device).tril(past)
    shares = scores.masked_fill(~seen, -torch.inf).softmax(-1, dtype=torch.float32).to(query.dtype)
    return (shares @ values[:, None]).reshape(heads, count, width).transpose(0, 1)
