"""Attempts: what a policy tried on a device, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.memory.shape import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One call of a plugin's `infer`."""

    #: Seconds.
    begin: float
    end: float
    shape: Shape
    #: Bytes that it needs, as far as it got.
    need: int
    #: Whether memory sufficed.
    ok: bool
    #: Whether it did not because the co-tenant took some meanwhile: as the batch began there was enough.
    stepped: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What a policy achieved on one seed, after its warm-up."""

    #: Items a second.
    rate: float
    #: Attempts, and those for which memory ended: for their size, and since the co-tenant took some meanwhile.
    batches: int
    failed: int
    stepped: int
    #: Items that went in, and those without exactly one good outcome; warm-up included.
    items: int
    lost: int

    @property
    def failed_per_1000(self) -> float:
        """OOMs that could have been foreseen, in 1,000 batches."""
        return 1000 * self.failed / max(1, self.batches)

    @property
    def stepped_per_1000(self) -> float:
        """OOMs by what the co-tenant did during the batch, in 1,000 batches."""
        return 1000 * self.stepped / max(1, self.batches)


def tally(attempts: Sequence[Attempt], *, begin: float, end: float, items: int, lost: int) -> Tally:
    """Count what began after the warm-up and ended in time."""
    counted = [each for each in attempts if each.begin >= begin and each.end <= end]
    return Tally(
        rate=sum(each.shape.items for each in counted if each.ok) / (end - begin),
        batches=len(counted),
        failed=sum(not each.ok and not each.stepped for each in counted),
        stepped=sum(each.stepped for each in counted),
        items=items,
        lost=lost,
    )
