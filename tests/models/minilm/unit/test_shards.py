"""Shards: parts of equal work, and the same vectors as without them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.sdk import Item
from plugin_pkgs.minilm.plugin import MiniLMPlugin
from plugin_pkgs.minilm.shards import Shards, split_evenly

sizes = st.lists(st.integers(1, 256), min_size=1, max_size=100)


@given(sizes, st.integers(1, 8))
def test_parts_cover_everything_once_and_none_is_empty(values: list[int], parts: int) -> None:
    runs = split_evenly(values, parts)
    assert [each for run in runs for each in values[run]] == values
    assert 1 <= len(runs) <= parts
    assert all(values[run] for run in runs)


@given(sizes, st.integers(1, 8))
def test_no_part_is_more_than_one_item_above_its_share(values: list[int], parts: int) -> None:
    share = sum(values) / parts
    assert all(sum(values[run]) <= share + max(values) for run in split_evenly(values, parts))


def test_shards_give_the_vectors_of_one_batch_in_order(plugin: MiniLMPlugin, sample: list[str]) -> None:
    sequences = [each.data for each in plugin.prepare([Item(input={"text": text}) for text in sample])]
    whole = plugin._embed(sequences)
    shards = Shards(plugin._embed, 3)
    try:
        np.testing.assert_allclose(shards.embed(sequences), whole, atol=1e-5)
    finally:
        shards.close()
