"""Chunking: how many inputs go into one job, and how many jobs are in flight."""

import time
from collections.abc import Callable

#: Seconds that a chunk should keep a worker busy: long beside what a job costs, short beside a lost one.
_SECONDS = 1.0
#: Inputs in a chunk while nothing is known of the model, and at most.
_FIRST, _MOST = 16, 4096
#: A chunk is this many times as large as the one before it, at most: a rate measured on few inputs says little.
_GROWTH = 4
#: Bytes of a chunk of several inputs, at most.
MOST_BYTES = 1024 * 1024
#: Seconds of work in flight for each worker: one chunk runs, one waits in the worker, one in the queue.
_SECONDS_IN_FLIGHT = 3.0
#: Chunks in flight for each worker at least and at most; and one more for all.
_FEWEST, _MOST_IN_FLIGHT, _FOR_ALL = 3, 32, 1
#: Chunks in flight for each worker at most of a model whose items run so many at once; they are small.
_MOST_CONTINUOUS = 128
#: Seconds between two looks how many workers there are.
_LOOK_SECONDS = 2.0


class Chunking:
    """Sizes the next chunk, and the number of those in flight, by the rate at which workers ran the last ones.

    Example:
        >>> chunking = Chunking(workers=lambda: 2)
        >>> chunking.ran(16, 0.4)
        >>> chunking.size, chunking.in_flight
        (40, 7)
    """

    def __init__(
        self,
        workers: Callable[[], int],
        *,
        concurrency: Callable[[], int] = lambda: 0,
        chunk_size: int | None = None,
        max_chunks: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with small chunks.

        Args:
            workers: Counts those that serve the model.
            concurrency: Items that run at once in a worker and are answered one by one, 0 for a model of batches.
            chunk_size: Inputs in every chunk; None to choose.
            max_chunks: Chunks in flight; None to choose.
            clock: Monotonic seconds.
        """
        self._count = workers
        self._ask_concurrency = concurrency
        self._fixed_size = chunk_size
        self._max_chunks = max_chunks
        self._clock = clock
        self._look_at = clock()
        self._workers, self._concurrency = 1, 0
        #: Items per second of one worker; 0 while nothing is known.
        self._rate = 0.0
        #: Inputs in the next chunk.
        self.size = chunk_size or _FIRST

    def ran(self, items: int, seconds: float) -> None:
        """Learn from a chunk.

        Args:
            items: Those of its inputs that ran.
            seconds: Their shares of the time of their batches.
        """
        if not items or seconds <= 0:
            return
        self._rate = items / seconds
        if self._fixed_size is None:
            self.size = max(1, round(min(self._rate * _SECONDS, _GROWTH * self.size, _MOST)))

    @property
    def in_flight(self) -> int:
        """Chunks in flight, at most: enough for the workers, and few enough that others wait little."""
        if self._max_chunks is not None:
            return self._max_chunks
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + _LOOK_SECONDS
            self._workers, self._concurrency = max(1, self._count()), self._ask_concurrency()
        wanted = min(self._rate * _SECONDS_IN_FLIGHT / self.size, _MOST_IN_FLIGHT)
        # As above: those that run, those that wait in the worker, and those in the queue.
        at_once = min(_FEWEST * self._concurrency / self.size, _MOST_CONTINUOUS)
        return self._workers * max(_FEWEST, round(wanted), round(at_once)) + _FOR_ALL
