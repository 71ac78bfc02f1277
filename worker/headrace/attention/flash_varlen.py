"""FlashVarlenAttention: flash-attn's kernel for packed sequences, on NVIDIA GPUs."""

import torch
from flash_attn import flash_attn_varlen_func
from torch import Tensor

from headrace.sdk.attention import AttentionStrategy

#: Compute capability from which on flash-attn 2 runs (Ampere), and bfloat16 is native.
_AMPERE = (8, 0)


class FlashVarlenAttention(AttentionStrategy):
    """One kernel launch for all sequences; half precision only."""

    name = "flash_varlen"

    def __init__(self) -> None:
        if torch.cuda.get_device_capability() < _AMPERE:
            raise RuntimeError("flash-attn needs a GPU of compute capability 8.0 or more")

    def varlen(self, q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> Tensor:
        """Attend within each sequence; see `AttentionStrategy.varlen`."""
        attended: Tensor = flash_attn_varlen_func(q, k, v, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
        return attended
