"""AttentionStrategy: attention over sequences that lie one after the other, without padding."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


class AttentionStrategy(ABC):
    """One way to compute full attention over packed sequences.

    A plugin that sets `uses_attention` finds the fastest one of its device in
    `self.attention` when `load_model` runs.
    """

    #: Name in logs and in `headrace doctor`.
    name: ClassVar[str]

    @abstractmethod
    def varlen(self, q: "Tensor", k: "Tensor", v: "Tensor", cu_seqlens: "Tensor", max_seqlen: int) -> "Tensor":
        """Let each token attend to the tokens of its own sequence, scaled by `head_dim ** -0.5`.

        Args:
            q: Queries, (total_tokens, heads, head_dim); may be a strided view.
            k: Keys, of the same shape.
            v: Values, of the same shape.
            cu_seqlens: Where each sequence begins, and the end of the last: int32, (sequences + 1,),
                on the device of `q`. Runs of equal length are computed together where it helps,
                so sequences sorted by length are fastest.
            max_seqlen: Length of the longest sequence.

        Returns:
            A contiguous (total_tokens, heads, head_dim).
        """
