"""BaseConfig: limits that every plugin has, and no others by accident."""

from typing import Any

import pytest
from pydantic import ValidationError

from headrace.sdk.config import BaseConfig


@pytest.mark.parametrize(
    "values",
    [
        {"max_batch_size": 0},
        {"max_batch_tokens": 0},
        {"batch_time_limit": 0},
        {"dtype": "int8"},
        {"max_batch_sise": 4},
        {"weights": {"path": "/w", "hub": "a/b"}},
    ],
)
def test_a_value_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        BaseConfig(**values)


def test_a_configuration_does_not_change_once_it_is_made() -> None:
    config = BaseConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.max_batch_size = 1  # type: ignore[misc]
