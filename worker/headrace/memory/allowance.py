"""Allowance: which batches of one model the memory takes. Pure: numbers in, numbers out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.memory.ceiling import Ceiling
from headrace.memory.cost import CostModel, Sample
from headrace.memory.fatal import Fatal
from headrace.memory.shape import Shape

#: Share of what the device tells of that an allocation must have come near, to have failed for lack of it.
_NEAR = 0.7
#: How much more than a plugin claims its first batch may need.
_DOUBT = 2.0
#: Batches after which it is believed how long others take.
_TIMED = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A batch for which memory ended."""

    shape: Shape
    #: Bytes that it had by then, and those of the allocation that failed; 0 where nobody tells.
    reached: int
    tried: int
    #: Bytes that the device told of, without what the batch had.
    room: int
    #: Whether it ended the process, which heard of nothing.
    silent: bool = False

    @property
    def needed(self) -> int:
        """Bytes that the batch needs at least."""
        return self.reached + self.tried


class Allowance:
    """What a model's batches cost, and whether one fits into the room that there is."""

    def __init__(self, clock: Callable[[], float], *, per_unit: float = 0.0) -> None:
        """Nothing is known yet.

        Args:
            clock: Monotonic seconds.
            per_unit: Bytes that the plugin expects for a unit, 0 for unknown.
        """
        self._clock = clock
        self._per_unit = per_unit
        self._ceiling = Ceiling()
        self._fatal = Fatal()
        #: Bytes at the peak, and seconds.
        self.memory = CostModel()
        self.time = CostModel()
        #: Whether what batches need cannot be measured: then only the plugin's word and failures count.
        self.unmeasured = False
        #: Bytes that the process has beside its batches, as last seen.
        self.held = 0

    def fits(self, shape: Shape, room: float) -> bool:
        """Whether a batch may run in so many bytes.

        A batch much larger than any before it waits until its smaller ones were measured.
        """
        if not self._fatal.allows(shape, room):
            return False
        room = self.within(room)
        known = self.unmeasured or (self.memory.samples == 0 and self._per_unit) or self.memory.reaches(shape)
        return bool(known) and self.bound(shape) <= room

    def within(self, room: float) -> float:
        """How much of what the device tells of there really is, as far as failures have shown."""
        return min(room, self._ceiling.limit(self._clock(), self.held))

    def bound(self, shape: Shape) -> float:
        """Bytes that a batch needs at most, as far as is known."""
        claimed = _DOUBT * self._per_unit * shape.padded if self.memory.samples == 0 else 0.0
        return max(claimed, self.memory.bound(shape))

    def is_trial(self, shape: Shape) -> bool:
        """Whether a batch is larger than all that succeeded, so that the process may die of it."""
        return self._fatal.is_trial(shape)

    def succeeded(self, shape: Shape) -> None:
        """Take in that a batch came through, measured or not."""
        self._fatal.succeeded(shape)

    def seconds(self, shape: Shape) -> float:
        """How long a batch is expected to take; 0 while too little is known."""
        return self.time.predict(shape) if self.time.samples >= _TIMED else 0.0

    def learn(self, shape: Shape, *, peak: float, seconds: float) -> None:
        """Take in what a batch has needed; what needs nothing of the device counts as a byte."""
        peak = max(peak, 1.0)
        if self.memory.misfits(shape, peak):
            # Kept from another time, or the plugin has changed its ways.
            self.memory, self.time = CostModel(), CostModel()
        self.memory.learn(shape, peak)
        self.time.learn(shape, seconds)
        self._ceiling.had(peak, self.held)

    def fail(self, failure: Failure) -> None:
        """Take in that memory ended for a batch, and not for its parts."""
        if failure.silent:
            self._fatal.died(failure.shape, failure.room)
        if not failure.needed:
            return
        self.memory.refuse(failure.shape, failure.needed)
        if failure.tried and failure.needed < _NEAR * failure.room:
            self._ceiling.failed(failure.needed, self._clock(), self.held)

    def restore(self, memory: Sequence[Sample], time: Sequence[Sample]) -> None:
        """Begin with what was learned before."""
        for shape, _ in memory:
            self._fatal.succeeded(shape)
        self.memory.restore(memory)
        self.time.restore(time)
