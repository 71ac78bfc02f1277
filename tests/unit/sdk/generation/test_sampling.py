"""Sampling: bounds hold, and the same seed and place give the same token."""

from collections import Counter

import pytest
import torch
from pydantic import ValidationError

from headrace.sdk.generation.sampling import SamplingParams, choose

#: Shares of five tokens: 0.4, 0.3, 0.2, 0.1 and next to nothing.
LOGITS = torch.log(torch.tensor([0.1, 0.4, 0.2, 0.3, 1e-9]))


def _drawn(count: int = 400, **params: object) -> Counter[int]:
    made = SamplingParams.model_validate(params)
    return Counter(choose(LOGITS, made, position) for position in range(count))


def test_no_temperature_takes_the_likeliest() -> None:
    assert _drawn() == {1: 400}


def test_tokens_come_as_often_as_they_are_likely() -> None:
    drawn = _drawn(4000, temperature=1.0)
    assert all(abs(drawn[token] / 4000 - share) < 0.03 for token, share in ((0, 0.1), (1, 0.4), (2, 0.2), (3, 0.3)))
    assert drawn[4] == 0


@pytest.mark.parametrize(
    ("params", "allowed"),
    [
        ({"top_k": 2}, {1, 3}),
        ({"top_p": 0.5}, {1, 3}),
        ({"top_p": 0.4}, {1}),
        ({"top_p": 0.71}, {1, 2, 3}),
        ({"top_k": 3, "top_p": 0.3}, {1}),
        ({"top_k": 99}, {0, 1, 2, 3}),
    ],
)
def test_only_the_likeliest_are_drawn(params: dict[str, object], allowed: set[int]) -> None:
    assert set(_drawn(temperature=1.0, **params)) == allowed


def test_a_seed_tells_all() -> None:
    params = SamplingParams(temperature=1.0, seed=7)
    first = [choose(LOGITS, params, position) for position in range(50)]
    assert first == [choose(LOGITS, params, position) for position in range(50)]
    other = SamplingParams(temperature=1.0, seed=8)
    assert first != [choose(LOGITS, other, position) for position in range(50)]


@pytest.mark.parametrize(
    "params",
    [
        {"max_tokens": 0},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.1},
        {"seed": -1},
        {"stop": ""},
        {"stop": ["a"] * 17},
        {"logprobs": 21},
        {"max_token": 3},
        {"max_tokens": "3"},
        {"max_tokens": True},
    ],
)
def test_what_is_out_of_bounds_is_refused(params: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SamplingParams.model_validate(params)


def test_one_stop_string_is_as_good_as_a_list() -> None:
    assert SamplingParams.model_validate({"stop": "a"}).stop == SamplingParams.model_validate({"stop": ["a"]}).stop
