"""Assertions about embeddings."""

from typing import Any

import numpy as np


def cosines(actual: Any, expected: Any) -> Any:
    """Cosine of each pair of rows of two (n, width) arrays: (n,)."""
    one, other = (np.asarray(each, np.float64) for each in (actual, expected))
    assert one.shape == other.shape, f"shapes differ: {one.shape} and {other.shape}"
    return (one * other).sum(-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))


def assert_cosine(actual: Any, expected: Any, *, at_least: float) -> None:
    """Every row points where its counterpart does, up to a least cosine."""
    found = cosines(actual, expected)
    worst = int(found.argmin())
    assert found[worst] >= at_least, f"row {worst} has cosine {found[worst]:.6f}, at least {at_least} expected"


def assert_unit_length(vectors: Any, *, tolerance: float = 1e-5) -> None:
    """Every row has length 1."""
    lengths = np.linalg.norm(np.asarray(vectors, np.float64), axis=-1)
    assert np.abs(lengths - 1).max() <= tolerance, f"lengths from {lengths.min()} to {lengths.max()}"
