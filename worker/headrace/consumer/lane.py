"""Lane: the waiting line of one model, and the window that it hands to the engine."""

from collections import deque
from collections.abc import Callable

from headrace.consumer.job import Job
from headrace.engine.rate import Rate

#: Windows of work that a worker holds at most of each model: one runs while the next is prepared.
WINDOWS = 2
#: Messages whose sizes tell what the next one may bring.
_REMEMBERED = 64


def room_for(held: int, window: int, message: int) -> int:
    """How many messages of at most `message` items may be claimed beside `held` items.

    They must fit into two windows. A message that is larger than one cannot be claimed in part;
    it comes once one window is left, so that the engine does not idle between large ones.

    Example:
        >>> room_for(0, 64, 1), room_for(0, 64, 64), room_for(64, 64, 1_000), room_for(65, 64, 64)
        (128, 2, 1, 0)
    """
    return max(0, WINDOWS * window - held) // min(message, window)


class Lane:
    """Jobs of one model in order of arrival; credit is counted in items."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.rate = Rate()
        #: Items that run at once and are answered one by one, 0 where batches run to their end.
        self.concurrency = 0
        self._jobs: deque[Job] = deque()
        #: Items that were not handed over; a count, since it is asked for every message.
        self.waiting = 0
        #: Items that the engine has and that have no outcome yet.
        self.handed = 0
        #: Items of the last messages: the next one may bring as many as the largest of them.
        self._sizes: deque[int] = deque(maxlen=_REMEMBERED)

    @property
    def window(self) -> int:
        """Items in one window: by the measured rate, and as many as run at once."""
        return max(self.rate.window, self.concurrency)

    @property
    def held(self) -> int:
        """Items that have no outcome yet."""
        return self.waiting + self.handed

    @property
    def room(self) -> int:
        """How many messages of the model this worker may claim; one while nothing is known of their sizes."""
        if not self._sizes:
            return 1
        return room_for(self.held, self.window, max(self._sizes))

    @property
    def head(self) -> Job | None:
        """The next job, if any."""
        return self._jobs[0] if self._jobs else None

    def put(self, job: Job) -> None:
        """Add a job at the end."""
        self._jobs.append(job)
        self.waiting += job.waiting
        self._sizes.append(job.waiting)

    def ready(self, now: float, *, max_delay: float) -> bool:
        """Whether to hand over now: at once to an idle engine, else when full or old enough."""
        if not self._jobs or self.handed >= WINDOWS * self.window:
            return False
        if self.handed == 0 or self.waiting >= self.window:
            return True
        return now - self._jobs[0].arrived >= max_delay

    def take(self, unwanted: Callable[[Job], bool] = lambda job: job.closed) -> list[tuple[Job, int]]:
        """Jobs and how many items of each to hand over: a window, and no more than two in the engine.

        Args:
            unwanted: Whether a job is to leave the line without running.
        """
        room = min(self.window, WINDOWS * self.window - self.handed)
        taken: list[tuple[Job, int]] = []
        while room > 0 and self._jobs:
            job = self._jobs[0]
            if unwanted(job):
                self.discard(job)
                continue
            if taken and (job.lost_attempts or taken[0][0].lost_attempts):
                # Suspects of a dead worker run alone, so that no innocent dies with them.
                break
            count = min(job.waiting, room)
            if count == job.waiting:
                self._jobs.popleft()
            room -= count
            self.waiting -= count
            taken.append((job, count))
        return taken

    def discard(self, job: Job) -> None:
        """Take a job out of the line, if it is there."""
        if job in self._jobs:
            self._jobs.remove(job)
            self.waiting -= job.waiting

    def clear(self) -> None:
        """Drop the jobs of which nothing was handed over; their messages go back to the queue."""
        self._jobs = deque(job for job in self._jobs if job.started)
        self.waiting = sum(job.waiting for job in self._jobs)
