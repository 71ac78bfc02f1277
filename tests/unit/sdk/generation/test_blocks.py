"""Blocks: each is one sequence's, none is lost, and a sequence is one run where that is possible."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.sdk.generation.blocks import Blocks


def _is_run(blocks: list[int]) -> bool:
    return all(after - before == 1 for before, after in pairwise(blocks))


def test_sequences_grow_side_by_side_without_being_cut() -> None:
    blocks = Blocks(12)
    held = [blocks.take(1, promise=4) for _ in range(3)]
    for _ in range(3):
        for each in held:
            each.extend(blocks.extend(each))
    assert all(map(_is_run, held))
    assert blocks.free == 0


def test_what_is_promised_is_given_to_others_once_nothing_else_is_left() -> None:
    blocks = Blocks(6)
    first = blocks.take(1, promise=4)
    second = blocks.take(2, promise=4)
    assert (first, second) == ([0], [4, 5])
    assert blocks.extend(second) == [1]
    assert blocks.extend(first) == [2]


def test_a_promise_ends_with_its_sequence() -> None:
    blocks = Blocks(4)
    blocks.give_back(blocks.take(1, promise=4))
    assert blocks.take(4) == [0, 1, 2, 3]


def test_more_than_there_is_is_refused_and_the_last_block_is_the_last() -> None:
    blocks = Blocks(2)
    with pytest.raises(ValueError, match="3 blocks are wanted, and 2 are free"):
        blocks.take(3)
    held = blocks.take(2)
    assert blocks.extend(held) == []
    assert Blocks(0).free == 0


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_no_block_is_twice_in_use_and_none_is_lost(count: int, seed: int) -> None:
    blocks, chance = Blocks(count), random.Random(seed)  # noqa: S311  not for secrets
    held: list[list[int]] = []
    for _ in range(60):
        act = chance.randrange(3)
        if act == 0 and blocks.free:
            wanted = chance.randint(1, blocks.free)
            held.append(blocks.take(wanted, promise=wanted + chance.randrange(5)))
        elif act == 1 and held:
            sequence = chance.choice(held)
            sequence += blocks.extend(sequence)
        elif act == 2 and held:
            blocks.give_back(held.pop(chance.randrange(len(held))))
        used = [block for sequence in held for block in sequence]
        assert len(used) == len(set(used)) == blocks.count - blocks.free
        assert all(0 <= block < count for block in used)
