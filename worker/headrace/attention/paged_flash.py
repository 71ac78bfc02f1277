"""PagedFlashAttention: flash-attn's kernel over a paged cache, all sequences of a pass in one launch.

Never run on a GPU so far: its bounds, slots and results are tested on a CPU with a stand-in for the kernel, after
flash-attn's own description of it. Keys and values are gathered from the blocks for each layer before the launch.
flash-attn 2 reads pages itself only where they have 256 tokens; blocks have 16 here.
"""

import weakref
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from headrace.attention.flash import FlashKernel
from headrace.attention.paged import RegisteredAttention
from headrace.sdk.generation.attention import Span, Step
from headrace.sdk.generation.cache import KVLayer


@dataclass(frozen=True, slots=True)
class _Layout:
    """What is the same in all layers of a step."""

    #: Places in the cache of all that the sequences have, one sequence after the other.
    slots: Tensor
    #: Of queries and of keys: where each sequence begins and the last ends, and the longest.
    bounds: tuple[Tensor, Tensor, int, int]


class PagedFlashAttention(RegisteredAttention):
    """Fast where many sequences run; half precision only."""

    def __init__(self, version: int) -> None:
        """Import flash-attn; see `FlashKernel`."""
        self._kernel = FlashKernel(version)
        super().__init__(f"paged|flash_attention_{version}", f"headrace_paged_fa{version}")
        #: Of the last step, known by its slots: weakly, since a step holds the whole cache.
        self._last: tuple[weakref.ref[Tensor], _Layout] | None = None

    def attend(self, layer: KVLayer, query: Tensor, step: Step, scaling: float) -> Tensor:
        """Attend; see `RegisteredAttention.attend`."""
        layout = self._layout(step)
        keys, values = layer.keys[layout.slots], layer.values[layout.slots]
        # Causal is aligned to the end: the last query sees all keys.
        return self._kernel(query, keys, values, *layout.bounds, softmax_scale=scaling, causal=True)

    def _layout(self, step: Step) -> _Layout:
        # Performance: once a step, not once a layer.
        if self._last is None or self._last[0]() is not step.slots:
            self._last = weakref.ref(step.slots), _layout_of(step)
        return self._last[1]


def _layout_of(step: Step) -> _Layout:
    device = step.slots.device
    counts = [span.end - span.begin for span in step.spans]
    lengths = [span.past + count for span, count in zip(step.spans, counts, strict=True)]
    slots = [
        _slots(span, length, step.cache.block_size, device) for span, length in zip(step.spans, lengths, strict=True)
    ]
    bounds = (_bounds(counts, device), _bounds(lengths, device), max(counts), max(lengths))
    return _Layout(torch.cat(slots), bounds)


def _slots(span: Span, length: int, block_size: int, device: torch.device) -> Tensor:
    """Places of all that a sequence has, (length)."""
    if isinstance(span.place, int):
        return torch.arange(span.place, span.place + length, device=device)
    offsets = torch.arange(block_size, device=device)
    return (span.place[:, None] * block_size + offsets).flatten()[:length]


def _bounds(counts: list[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(counts)], dtype=torch.int32, device=device)
