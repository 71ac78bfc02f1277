"""PerSequenceAttention: what the formula says, for any lengths in any order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from headrace.attention.per_sequence import PerSequenceAttention, equal_runs  # noqa: E402  needs torch

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=8)


def _bounds(lengths: list[int]) -> "torch.Tensor":
    return torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


def _by_formula(q: "torch.Tensor", k: "torch.Tensor", v: "torch.Tensor") -> "torch.Tensor":
    scores = torch.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)


@given(LENGTHS)
@settings(deadline=None, max_examples=50)
def test_each_sequence_attends_to_itself_alone(lengths: list[int]) -> None:
    total = sum(lengths)
    generator = torch.Generator().manual_seed(total)
    # As a plugin has them: views into one (tokens, 3, heads, head_dim).
    q, k, v = torch.randn(total, 3, 2, 4, generator=generator).unbind(1)
    actual = PerSequenceAttention().varlen(q, k, v, _bounds(lengths), max(lengths))
    parts = zip(*(each.split(lengths) for each in (q, k, v)), strict=True)
    expected = torch.cat([_by_formula(*part) for part in parts])
    torch.testing.assert_close(actual, expected)
    assert actual.is_contiguous()


@given(LENGTHS)
def test_runs_cover_every_token_once(lengths: list[int]) -> None:
    runs = list(equal_runs([0, *torch.tensor(lengths).cumsum(0).tolist()]))
    tokens = [token for begin, count, length in runs for token in range(begin, begin + count * length)]
    assert tokens == list(range(sum(lengths)))


def test_equal_neighbours_are_one_run() -> None:
    assert list(equal_runs([0, 2, 4, 6, 9, 12, 14])) == [(0, 3, 2), (6, 2, 3), (12, 1, 2)]
