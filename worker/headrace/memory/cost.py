"""CostModel: what a batch will need at most, learned from what batches have needed. Pure: numbers in, numbers out."""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from operator import mul

import numpy as np
import numpy.typing as npt

from headrace.memory.shape import Shape

#: A batch, and what it has cost.
Sample = tuple[Shape, float]

#: Batches from which it is learned; the largest ones are kept besides.
_REMEMBERED = 128
#: By what a batch is large: by what is computed for its units, and by what attention computes.
_ORDERS: Sequence[Callable[[Shape], int]] = (lambda shape: shape.padded, lambda shape: shape.padded * shape.longest)
#: By how much a batch may be larger than all before it.
_REACH = 4
#: Batches after which a model is sure of itself, and by how much a cost must then surpass its bound to
#: show that it speaks of something else.
_SURE, _FOREIGN = 32, 2.0
#: Batches after which the bound needs little room for what was not seen yet, and that room, as a share.
_ENOUGH, _ROOM, _LEAST_ROOM = 16, 0.5, 0.05
#: Batches before which it surprises nobody that a bound was surpassed.
_FEW = 8
#: A bound that something surpassed widens at once, and comes back by this share with each batch.
_FORGIVEN = 0.05


class CostModel:
    """Fits costs to shapes with no negative coefficient, so that a larger batch never costs less."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=_REMEMBERED)
        #: The largest by each of `_ORDERS`.
        self._largest: list[Sample] = []
        self._coefficients: list[float] = [0.0] * len(Shape(0, 0, 0).features)
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
    def kept(self) -> list[Sample]:
        """What it would begin with again."""
        return [*self._samples, *dict.fromkeys(each for each in self._largest if each not in self._samples)]

    def restore(self, kept: Sequence[Sample]) -> None:
        """Begin with what another has kept."""
        costly = [(shape, cost) for shape, cost in kept if cost > 0]
        for shape, cost in costly:
            self._note(shape, cost)
        self._count = min(len(costly), _SURE)
        if costly:
            self._fit()

    def reaches(self, shape: Shape) -> bool:
        """Whether a batch is not much larger than all that were measured; one item always is not."""
        if shape.items == 1:
            return True
        if not self._largest:
            return False
        seen = zip(_ORDERS, self._largest, strict=True)
        return all(order(shape) <= _REACH * max(1, order(largest)) for order, (largest, _) in seen)

    def misfits(self, shape: Shape, cost: float) -> bool:
        """Whether a cost shows that what was learned is of no use any more."""
        return self._count >= _SURE and self.reaches(shape) and cost > _FOREIGN * self.bound(shape)

    def learn(self, shape: Shape, cost: float) -> None:
        """Take in what a batch has cost.

        Args:
            shape: The batch's.
            cost: Bytes at the peak, or seconds; more than 0.
        """
        if cost <= 0:
            return
        # What is nothing but units costs nothing where an item has none: no widening makes more of that.
        if self._count >= _FEW and cost > (bound := self.bound(shape)) > 0:
            self._scare += cost / bound - 1
        self._scare *= 1 - _FORGIVEN
        self._count += 1
        self._note(shape, cost)
        self._fit()

    def _note(self, shape: Shape, cost: float) -> None:
        self._samples.append((shape, cost))
        seen = zip(_ORDERS, self._largest or [(shape, cost)] * len(_ORDERS), strict=True)
        self._largest = [(shape, cost) if order(shape) >= order(old[0]) else old for order, old in seen]

    def refuse(self, shape: Shape, at_least: float) -> None:
        """Take in that a batch needs more than so much: its bound is above that from now on.

        Args:
            shape: The batch's.
            at_least: Bytes that it had, and the allocation that failed.
        """
        if self._count == 0:
            self._refused = shape, 1.02 * at_least
        elif 0 < (bound := self.bound(shape)) <= at_least:
            self._scare += 1.02 * at_least / bound - 1

    def predict(self, shape: Shape) -> float:
        """What a batch costs, as the fit has it; 0 while nothing is known."""
        # Performance: a plan asks hundreds of times, and numpy takes three times as long for six numbers.
        return sum(map(mul, shape.features, self._coefficients), 0.0)

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
        return least * max(1.0, shape.padded / max(1, refused.padded))

    def _fit(self) -> None:
        samples = [*self._samples, *self._largest]
        # Hazard: the square of a large size is more than 64 bits hold.
        features = np.asarray([shape.features for shape, _ in samples], dtype=np.float64)
        costs = np.asarray([cost for _, cost in samples])
        # Each is to be met as well as the others in proportion to its size.
        found = _least_squares(features / costs[:, None], np.ones(len(costs)))
        self._coefficients, fitted = found.tolist(), features @ found
        self._excess = max(0.0, float(np.max(costs / np.maximum(fitted, 1e-9) - 1)))


def _least_squares(rows: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Least squares with no negative coefficient: the best of all subsets of columns, of which there are few."""
    scale = np.maximum(np.abs(rows).max(axis=0), 1e-30)
    scaled = rows / scale
    gram, target = scaled.T @ scaled, scaled.T @ wanted
    best, least = np.zeros(rows.shape[1]), np.inf
    # The last columns first: of fits that are as good, that which grows with the batch is the safe one.
    columns = range(rows.shape[1])[::-1]
    for count in range(1, rows.shape[1] + 1):
        for chosen in itertools.combinations(columns, count):
            subset = list(chosen)
            # Columns that are alike make a singular matrix; with so little on its diagonal it is none.
            found = np.linalg.solve(gram[np.ix_(subset, subset)] + 1e-9 * np.eye(count), target[subset])
            if (found < 0).any():
                continue
            error = float(found @ gram[np.ix_(subset, subset)] @ found - 2 * found @ target[subset])
            # A column more must earn its place.
            if error < least - 1e-6 * len(wanted):
                best, least = np.zeros(rows.shape[1]), error
                best[subset] = found
    unscaled: npt.NDArray[np.float64] = best / scale
    return unscaled
