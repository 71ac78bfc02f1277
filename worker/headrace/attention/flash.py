"""The kernel of flash-attn, whichever version is installed."""

from importlib import import_module
from typing import Any

from torch import Tensor

from headrace.attention.select import FLASH_PACKAGES


class FlashKernel:
    """`flash_attn_varlen_func` of one version: sequences that lie one after the other, half precision only."""

    def __init__(self, version: int) -> None:
        """Import the package.

        Raises:
            ImportError: If it is not there, or built for another torch or CUDA.
            AttributeError: If it has no such function.
        """
        self._varlen: Any = import_module(FLASH_PACKAGES[version]).flash_attn_varlen_func

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *bounds: Tensor | int, **options: Any) -> Tensor:
        """Attend.

        Args:
            q: Queries, (tokens, heads, head_dim).
            k: Keys, which may have fewer heads.
            v: Values, as keys.
            *bounds: Of queries and of keys, int32 (sequences + 1,), and the longest of each.
            **options: `softmax_scale`, `causal`.
        """
        attended = self._varlen(q, k, v, *bounds, **options)
        # Some releases of version 3 give the sums of each row beside it.
        found: Tensor = attended[0] if isinstance(attended, tuple) else attended
        return found
