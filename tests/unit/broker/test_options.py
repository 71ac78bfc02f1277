"""SendOptions: what no job can have is refused by name, before anything is sent."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from headrace.broker.options import SendOptions, digest_of
from headrace.errors import InvalidInput


@pytest.mark.parametrize(
    "given",
    [
        {"params": [1]},
        {"params": "fine"},
        {"params": {1: 2}},
        {"expires": "1"},
        {"expires": float("nan")},
        {"expires": True},
        {"expires": [1]},
        {"deadline": float("inf")},
        {"deadline": 1j},
        {"priority": "urgent"},
        {"priority": None},
        {"priority": ["high"]},
    ],
)
def test_an_argument_that_is_none_is_named(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(InvalidInput, match=f"{name} must be .*, not "):
        SendOptions(**given)


@pytest.mark.parametrize("seconds", [None, 0, -1, 0.5, np.float32(2), np.int64(3), Fraction(1, 2)])
def test_seconds_are_any_number(seconds: Any) -> None:
    assert SendOptions(expires=seconds, deadline=seconds).expires == seconds


@pytest.mark.parametrize("key", ["", 3, None, b"a", "\ud800"])
def test_a_key_that_is_no_text_is_refused(key: Any) -> None:
    with pytest.raises(InvalidInput, match=r"idempotency_key must be text .*, not "):
        digest_of(key)


def test_keys_that_differ_have_digests_that_do() -> None:
    assert len({digest_of(key) for key in ("a", "A", " a", "a\0", "\n")}) == 5
