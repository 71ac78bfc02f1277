"""CostModel: what a batch will need at most, learned from what batches have needed. Pure: numbers in, numbers out."""

import itertools
from collections import deque

import numpy as np
import numpy.typing as npt

from headrace.memory.shape import Shape

#: Batches from which it is learned; the largest one is kept besides.
_REMEMBERED = 128
#: Batches after which the bound needs little room for what was not seen yet, and that room, as a share.
_ENOUGH, _ROOM, _LEAST_ROOM = 16, 0.5, 0.05
#: A bound that something surpassed widens at once, and comes back by this share with each batch.
_FORGIVEN = 0.05


class CostModel:
    """Fits costs to shapes with no negative coefficient, so that a larger batch never costs less."""

    def __init__(self) -> None:
        self._samples: deque[tuple[Shape, float]] = deque(maxlen=_REMEMBERED)
        self._largest: tuple[Shape, float] | None = None
        self._coefficients = np.zeros(len(Shape(0, 0, 0).features))
        #: By how much the worst batch surpassed the fit.
        self._excess = 0.0
        #: Widening after a bound was surpassed.
        self._scare = 0.0
        self._count = 0
        #: What did not fit before anything was learned, and what it needs at least.
        self._refused: tuple[Shape, float] | None = None

    @property
    def samples(self) -> int:
        """Batches from which it has learned."""
        return self._count

    @property
    def largest(self) -> Shape | None:
        """The largest shape that it has seen."""
        return self._largest[0] if self._largest else None

    def learn(self, shape: Shape, cost: float) -> None:
        """Take in what a batch has cost.

        Args:
            shape: The batch's.
            cost: Bytes at the peak, or seconds; more than 0.
        """
        if cost <= 0:
            return
        if self._count and cost > self.bound(shape):
            self._scare += cost / self.bound(shape) - 1
        self._scare *= 1 - _FORGIVEN
        self._count += 1
        self._samples.append((shape, cost))
        if self._largest is None or shape.items * shape.longest >= self._largest[0].items * self._largest[0].longest:
            self._largest = shape, cost
        self._fit()

    def refused(self, shape: Shape, at_least: float) -> None:
        """Take in that a batch did not fit into so much: its bound is above that from now on.

        Args:
            shape: The batch's.
            at_least: What there was for it.
        """
        if self._count == 0:
            self._refused = shape, 1.02 * at_least
        elif (bound := self.bound(shape)) <= at_least:
            self._scare += 1.02 * at_least / bound - 1

    def predict(self, shape: Shape) -> float:
        """What a batch costs, as the fit has it; 0 while nothing is known."""
        return float(np.asarray(shape.features) @ self._coefficients)

    def bound(self, shape: Shape) -> float:
        """What a batch costs at most: the fit, the worst that surpassed it, and room for what was not seen."""
        if self._count == 0:
            return self._unlearned(shape)
        unseen = max(_LEAST_ROOM, _ROOM * (1 - self._count / _ENOUGH))
        return self.predict(shape) * (1 + self._excess) * (1 + unseen) * (1 + self._scare)

    def _unlearned(self, shape: Shape) -> float:
        if self._refused is None:
            return 0.0
        refused, least = self._refused
        return least * max(1.0, shape.items * shape.longest / max(1, refused.items * refused.longest))

    def _fit(self) -> None:
        samples = [*self._samples, *([self._largest] if self._largest else [])]
        features = np.asarray([shape.features for shape, _ in samples])
        costs = np.asarray([cost for _, cost in samples])
        # Each is to be met as well as the others in proportion to its size.
        self._coefficients = _least_squares(features / costs[:, None], np.ones(len(costs)))
        fitted = features @ self._coefficients
        self._excess = max(0.0, float(np.max(costs / np.maximum(fitted, 1e-9) - 1)))


def _least_squares(rows: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Least squares with no negative coefficient: the best of all subsets of columns, of which there are few."""
    scale = np.maximum(np.abs(rows).max(axis=0), 1e-30)
    scaled = rows / scale
    gram, target = scaled.T @ scaled, scaled.T @ wanted
    best, least = np.zeros(rows.shape[1]), np.inf
    for count in range(1, rows.shape[1] + 1):
        for chosen in itertools.combinations(range(rows.shape[1]), count):
            subset = list(chosen)
            try:
                found = np.linalg.solve(gram[np.ix_(subset, subset)] + 1e-9 * np.eye(count), target[subset])
            except np.linalg.LinAlgError:
                continue
            if (found < 0).any():
                continue
            error = float(found @ gram[np.ix_(subset, subset)] @ found - 2 * found @ target[subset])
            # A column more must earn its place.
            if error < least - 1e-6 * len(wanted):
                best, least = np.zeros(rows.shape[1]), error
                best[subset] = found
    unscaled: npt.NDArray[np.float64] = best / scale
    return unscaled
