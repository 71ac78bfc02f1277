"""FlashVarlenAttention: flash-attn's kernel for packed sequences, on NVIDIA GPUs."""

from torch import Tensor

from headrace.attention.flash import FlashKernel
from headrace.sdk.attention import PackedAttention


class FlashVarlenAttention(PackedAttention):
    """One kernel launch for all sequences; half precision only."""

    def __init__(self, version: int) -> None:
        """Import flash-attn; see `FlashKernel`."""
        self.name = f"flash_attention_{version}"
        self._kernel = FlashKernel(version)

    def varlen(self, q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> Tensor:
        """Attend within each sequence; see `PackedAttention.varlen`."""
        return self._kernel(q, k, v, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
