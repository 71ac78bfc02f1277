"""Blocks: which parts of the KV cache are whose. Pure: numbers in, numbers out."""

from collections.abc import Iterable
from enum import IntEnum

#: Tokens of a block: of each sequence half as many lie idle on average.
BLOCK_SIZE = 16


def blocks_of(tokens: int) -> int:
    """How many blocks so many tokens take.

    Example:
        >>> blocks_of(1), blocks_of(16), blocks_of(17)
        (1, 1, 2)
    """
    return -(-tokens // BLOCK_SIZE)


class _State(IntEnum):
    FREE = 0
    #: Free, and next to what a sequence has, which will want it.
    PROMISED = 1
    USED = 2


class Blocks:
    """Gives blocks to sequences, in one run where it can: a run is read without being copied together.

    Example:
        >>> blocks = Blocks(8)
        >>> blocks.take(2, promise=4), blocks.take(2, promise=2)
        ([0, 1], [4, 5])
        >>> blocks.extend([0, 1]), blocks.free
        ([2], 3)
    """

    def __init__(self, count: int) -> None:
        """All of so many blocks are free."""
        self._states = bytearray(count)
        #: Free blocks, promised ones too.
        self.free = count

    @property
    def count(self) -> int:
        """Blocks, free or not."""
        return len(self._states)

    def take(self, count: int, *, promise: int = 0) -> list[int]:
        """Take blocks for a new sequence.

        Args:
            count: As many, 1 or more; `free` tells how many there are.
            promise: Blocks that the sequence will have in the end; those behind its first ones are given to
                others last.
        """
        if count > self.free:
            raise ValueError(f"{count} blocks are wanted, and {self.free} are free")
        run = self._run(max(count, promise))
        if len(run) < count:
            run = self._run(count)
        taken = list(run[:count]) if len(run) >= count else self._scattered(count)
        self._mark(taken, _State.USED)
        if len(run) >= count:
            self._mark(run[count:], _State.PROMISED)
        self.free -= count
        return taken

    def extend(self, blocks: list[int]) -> list[int]:
        """Take one block more for a sequence, the next in its run if that is free; none if none is."""
        if not self.free:
            return []
        following = blocks[-1] + 1
        follows = following < self.count and self._states[following] != _State.USED
        taken = [following] if follows else self._scattered(1)
        self._mark(taken, _State.USED)
        self.free -= 1
        return taken

    def give_back(self, blocks: list[int]) -> None:
        """A sequence has ended: its blocks are free, and nothing is promised to it."""
        self._mark(blocks, _State.FREE)
        self.free += len(blocks)
        following = max(blocks, default=-1) + 1
        while blocks and following < self.count and self._states[following] == _State.PROMISED:
            self._states[following] = _State.FREE
            following += 1

    def _run(self, count: int) -> range:
        """The first run of so many blocks that are free and not promised; an empty one if there is none."""
        begin = self._states.find(bytes([_State.FREE]) * count)
        return range(begin, begin + count) if begin >= 0 else range(0)

    def _scattered(self, count: int) -> list[int]:
        """The first free ones, promised ones last."""
        ordered = sorted((state, block) for block, state in enumerate(self._states) if state != _State.USED)
        return [block for _, block in ordered[:count]]

    def _mark(self, blocks: Iterable[int], state: _State) -> None:
        for block in blocks:
            self._states[block] = state
