"""Shape: what of a batch its cost depends on."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a batch its cost depends on."""

    items: int
    #: Sum of the items' sizes, in the plugin's unit.
    units: int
    longest: int

    @classmethod
    def of(cls, sizes: Sequence[int]) -> "Shape":
        """The shape of a batch of items of these sizes.

        Example:
            >>> Shape.of([3, 5])
            Shape(items=2, units=8, longest=5)
        """
        return cls(len(sizes), sum(sizes), max(sizes, default=0))

    @property
    def padded(self) -> int:
        """Units that are computed where each item is padded to the longest."""
        return self.items * self.longest

    @property
    def extents(self) -> tuple[int, int]:
        """By what it may be too large: what is computed for its units, and what attention computes."""
        return self.padded, self.padded * self.longest

    @property
    def features(self) -> tuple[float, ...]:
        """What the cost is a sum of: a constant, items, units, padded units, and their products by the longest.

        The last two stand for attention, which takes each unit with each other of its item.
        """
        padded = self.padded
        return 1.0, self.items, self.units, padded, self.units * self.longest, padded * self.longest
