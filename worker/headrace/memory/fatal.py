"""Fatal: how large a batch may be after larger ones have ended the process. Pure: numbers in, numbers out."""

from headrace.memory.shape import Shape

#: By how much the room must have grown for a size that was fatal in it to be tried again.
_GROWN = 1.25
#: Lone items that are noted at most, while sizes are held to be fatal.
_LONE_TRIALS = 16


class Fatal:
    """Of what is larger than all that succeeded, at most half of what was fatal is allowed.

    The halves of a fatal batch are what the worker runs next, so half of it is known soon.
    """

    def __init__(self) -> None:
        #: The largest that succeeded, by each of `Shape.extents`.
        self._largest = (0, 0)
        #: What was fatal, and the bytes that there were.
        self._deaths: list[tuple[Shape, int]] = []
        self._lone = 0

    def succeeded(self, shape: Shape) -> None:
        """A batch has come through."""
        one, other = shape.extents
        self._largest = max(self._largest[0], one), max(self._largest[1], other)

    def died(self, shape: Shape, room: int) -> None:
        """The process has died of a batch, in so many bytes of room."""
        self._deaths.append((shape, room))

    def is_trial(self, shape: Shape) -> bool:
        """Whether a batch that begins now is to be noted, since the process may die of it.

        One item is never too many. Yet its death tells that those before it may have been its fault, and not
        that of their size; this is of use where there were some, and in an engine's first batches.
        """
        if shape.items > 1:
            return self._is_larger(shape)
        if not self._deaths or self._lone == _LONE_TRIALS:
            return False
        self._lone += 1
        return True

    def allows(self, shape: Shape, room: float) -> bool:
        """Whether a batch may run in so many bytes of room; one item always may."""
        if shape.items == 1 or not self._deaths or not self._is_larger(shape):
            return True
        return not any(room < _GROWN * had and self._passes(shape, fatal) for fatal, had in self._deaths)

    def _is_larger(self, shape: Shape) -> bool:
        one, other = shape.extents
        return one > self._largest[0] or other > self._largest[1]

    def _passes(self, shape: Shape, fatal: Shape) -> bool:
        """Whether it is more than half of what was fatal, by an extent that can have been fatal."""
        extents = zip(shape.extents, fatal.extents, self._largest, strict=True)
        return any(2 * extent > deadly > largest and extent > largest for extent, deadly, largest in extents)
