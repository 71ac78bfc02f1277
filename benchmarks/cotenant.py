"""A co-tenant: another program on the device, which takes and frees memory as its seed has it.

As a program it does so to the file of a virtual device, by the real clock:

    python -m benchmarks.cotenant FILE TOTAL ROOM SEED
"""

import heapq
import random
import sys
import time
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from headrace.hardware.virtual import write_virtual

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenancy:
    """How much a co-tenant's jobs take, how often they come and how long they stay."""

    #: Bytes of the device, without the weights of the model that is measured.
    total: int = 8 * GIB
    #: Bytes that the co-tenant never takes: a job for which there are not so many more is refused.
    floor: int = 256 * MIB
    #: Bytes of a job: log-uniform between the two.
    smallest: int = 128 * MIB
    largest: int = 4 * GIB
    #: Mean seconds between two jobs, and of a job; both exponential.
    every: float = 1.0
    stay: float = 20.0


class CoTenant:
    """Bytes that are free over time: a fixed function of the seed, whatever runs beside it."""

    def __init__(self, tenancy: Tenancy, seed: int, *, seconds: float) -> None:
        """Draw its jobs.

        Args:
            tenancy: What its jobs are like.
            seed: Which jobs.
            seconds: How long it goes on; what it has then it keeps.
        """
        self._times, self._free = _steps(tenancy, random.Random(seed), seconds)  # noqa: S311  a simulation, no secret

    @property
    def steps(self) -> list[tuple[float, int]]:
        """Seconds of each change, and the bytes that are free from then on; the first is at 0."""
        return list(zip(self._times, self._free, strict=True))

    def free(self, now: float) -> int:
        """Bytes that it leaves."""
        return self._free[bisect_right(self._times, now) - 1]

    def falls_below(self, count: int, begin: float, end: float) -> float | None:
        """When it first leaves less than so many bytes between two moments; None if it never does."""
        first, last = bisect_right(self._times, begin) - 1, bisect_right(self._times, end)
        moments = (self._times[each] for each in range(first, last) if self._free[each] < count)
        moment = next(moments, None)
        return None if moment is None else max(begin, moment)


def _steps(tenancy: Tenancy, source: random.Random, seconds: float) -> tuple[list[float], list[int]]:
    free, now = tenancy.total, 0.0
    times, frees = [now], [free]
    #: When each job ends, and its bytes.
    jobs: list[tuple[float, int]] = []
    coming = source.expovariate(1 / tenancy.every)
    while (now := min(coming, jobs[0][0] if jobs else coming)) < seconds:
        if now == coming:
            size = round(tenancy.smallest * (tenancy.largest / tenancy.smallest) ** source.random())
            leaves = now + source.expovariate(1 / tenancy.stay)
            coming += source.expovariate(1 / tenancy.every)
            if free - size < tenancy.floor:
                continue
            heapq.heappush(jobs, (leaves, size))
            free -= size
        else:
            free += heapq.heappop(jobs)[1]
        times.append(now)
        frees.append(free)
    return times, frees


def small(room: int) -> Tenancy:
    """The same on a device where a model has so many bytes, ten times as fast."""
    usual = Tenancy()
    share = room / usual.total
    return Tenancy(
        total=room,
        # Its longest text takes a larger part of the device than the synthetic plugin's.
        floor=room // 12,
        smallest=round(share * usual.smallest),
        largest=round(share * usual.largest),
        every=usual.every / 10,
        stay=usual.stay / 10,
    )


def main() -> None:
    """Go on until killed, or for an hour."""
    path, total, room, seed = Path(sys.argv[1]), *map(int, sys.argv[2:])
    steps = CoTenant(small(room), seed, seconds=3600.0).steps
    print("begins", flush=True)
    begin = time.monotonic()
    for at, free in steps:
        time.sleep(max(0.0, begin + at - time.monotonic()))
        write_virtual(path, total=total, others=room - free)


if __name__ == "__main__":
    main()
