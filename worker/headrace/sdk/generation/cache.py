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
        self._shape = shape
        self._block_size = block_size
        self.keys, self.values = self._pool(tokens), self._pool(tokens)

    def _pool(self, tokens: int) -> Tensor:
        # Zeros are written, so that a host counts all of it as taken from now on, not as it is used.
        size = (tokens, self._shape.kv_heads, self._shape.head_dim)
        return torch.empty(size, dtype=self._shape.dtype, device=self._shape.device).zero_()

    def resize(self, tokens: int, before: Tensor, after: Tensor) -> None:
        """Have room for another number of tokens; the blocks `before` become those `after`."""
        self.keys = self._moved(self.keys, tokens, before, after)
        self.values = self._moved(self.values, tokens, before, after)

    def _moved(self, old: Tensor, tokens: int, before: Tensor, after: Tensor) -> Tensor:
        new = self._pool(tokens)
        if len(before):
            self._blocks(new)[after] = self._blocks(old)[before]
        return new

    def _blocks(self, pool: Tensor) -> Tensor:
        return pool.view(-1, self._block_size, *pool.shape[1:])

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
        parts = self._blocks(pool)[place]
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

    def resize(self, blocks: int, before: Sequence[int], after: Sequence[int]) -> None:
        """Have another number of blocks, layer by layer, so that little is there twice.

        Args:
            blocks: How many.
            before: Those of now that are kept.
            after: What each of these becomes.
        """
        old, new = (torch.tensor(each, device=self.shape.device, dtype=torch.long) for each in (before, after))
        for layer in self.layers:
            layer.resize(blocks * self.block_size, old, new)

    def place(self, blocks: Sequence[int]) -> Place:
        """Where a sequence with these blocks is."""
        if all(after - before == 1 for before, after in pairwise(blocks)):
            return blocks[0] * self.block_size
        return torch.tensor(blocks, device=self.shape.device)

    def slots(self, blocks: Sequence[int], begin: int, end: int) -> list[int]:
        """Places of the tokens from `begin` to `end` of a sequence."""
        size = self.block_size
        return [blocks[position // size] * size + position % size for position in range(begin, end)]
