"""AttentionStrategy: one way to compute attention, chosen by the engine for a device and a model."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionNeed:
    """What a model asks of attention."""

    #: Sequences one after the other, all of which are there, or over a paged cache of keys and values.
    layout: Literal["packed", "paged"] = "packed"
    #: Numbers in a query of one head; 0 if it is not known.
    head_dim: int = 0
    #: Whether layers see less than all that came before.
    has_windows: bool = False


class AttentionStrategy(ABC):
    """One way to compute attention.

    A plugin that sets `uses_attention` finds the fastest one of its device in
    `self.attention` when `load_model` runs.
    """

    #: Name in logs and in `headrace models`.
    name: str

    #: Why it was chosen, in words.
    reason: str = ""

    def __str__(self) -> str:
        """Name and reason, as they are shown."""
        return f"{self.name} ({self.reason})" if self.reason else self.name


class PackedAttention(AttentionStrategy):
    """Full attention over sequences that lie one after the other, without padding."""

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


class PagedAttention(AttentionStrategy):
    """Causal attention over a paged cache of keys and values, known to transformers by a name."""

    #: What a model is loaded with as `attn_implementation`.
    implementation: str
