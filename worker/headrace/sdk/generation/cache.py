"""KVCache: keys and values of all layers, in blocks of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

#: Where a sequence is: its first token's place if its blocks are one run, else the blocks' numbers.
Place = int | Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class KVShape:
    """What a model keeps of each token."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        """Bytes of a token: a key and a value in each layer."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize


class KVLayer:
    """Keys and values of one layer, each (tokens, kv_heads, head_dim)."""

    def __init__(self, shape: KVShape, tokens: int, block_size: int) -> None:
        size = (tokens, shape.kv_heads, shape.head_dim)
        self.keys = torch.empty(size, dtype=shape.dtype, device=shape.device)
        self.values = torch.empty(size, dtype=shape.dtype, device=shape.device)
        self._block_size = block_size

    def write(self, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Put tokens at their places; all of (tokens, ...)."""
        self.keys.index_copy_(0, slots, keys)
        self.values.index_copy_(0, slots, values)

    def read(self, place: Place, count: int) -> tuple[Tensor, Tensor]:
        """The first tokens of a sequence, each of (kv_heads, tokens, head_dim).

        Args:
            place: Where the sequence is.
            count: Tokens.
        """
        return self._read(self.keys, place, count), self._read(self.values, place, count)

    def _read(self, pool: Tensor, place: Place, count: int) -> Tensor:
        if isinstance(place, int):
            return pool[place : place + count].transpose(0, 1)
        parts = pool.view(-1, self._block_size, *pool.shape[1:])[place]
        return parts.flatten(0, 1)[:count].transpose(0, 1)


class KVCache:
    """Blocks of all layers."""

    def __init__(self, shape: KVShape, *, blocks: int, block_size: int) -> None:
        """Take the memory.

        Args:
            shape: What is kept of a token.
            blocks: How many.
            block_size: Tokens of each.
        """
        self.shape = shape
        self.block_size = block_size
        self.layers = [KVLayer(shape, blocks * block_size, block_size) for _ in range(shape.layers)]

    def place(self, blocks: Sequence[int]) -> Place:
        """Where a sequence with these blocks is."""
        if all(after - before == 1 for before, after in pairwise(blocks)):
            return blocks[0] * self.block_size
        return torch.tensor(blocks, device=self.shape.device)

    def slots(self, blocks: Sequence[int], begin: int, end: int) -> list[int]:
        """Places of the tokens from `begin` to `end` of a sequence."""
        size = self.block_size
        return [blocks[position // size] * size + position % size for position in range(begin, end)]
