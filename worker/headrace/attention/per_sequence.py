"""PerSequenceAttention: torch's own attention, once for each run of equally long sequences."""

from collections.abc import Iterator
from itertools import groupby, pairwise

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from headrace.sdk.attention import PackedAttention


class PerSequenceAttention(PackedAttention):
    """Runs everywhere; computes no padding and needs no mask."""

    name = "per_sequence"

    def varlen(self, q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> Tensor:
        """Attend within each sequence; see `PackedAttention.varlen`."""
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        for begin, count, length in equal_runs(cu_seqlens.tolist()):
            end = begin + count * length
            shape = (count, length, *q.shape[1:])
            # (count, heads, length, head_dim), as views
            query, key, value = (each[begin:end].view(shape).transpose(1, 2) for each in (q, k, v))
            attended = scaled_dot_product_attention(query, key, value)
            out[begin:end].view(shape).copy_(attended.transpose(1, 2))
        return out


def equal_runs(cu_seqlens: list[int]) -> Iterator[tuple[int, int, int]]:
    """Neighbouring sequences of equal length, as (first token, number of sequences, length).

    Sequences of length zero have no tokens and are left out.

    Example:
        >>> list(equal_runs([0, 2, 4, 9]))
        [(0, 2, 2), (4, 1, 5)]
    """
    begin = 0
    for length, run in groupby(end - start for start, end in pairwise(cu_seqlens)):
        count = sum(1 for _ in run)
        if length:
            yield begin, count, length
        begin += count * length
