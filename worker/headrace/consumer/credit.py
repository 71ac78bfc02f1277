"""Credit: which queues the worker may claim another message from.

The stock transport counts messages for all queues together; lanes count items, each for its
own model, so that a slow model does not hold up another's claims.
"""

from collections.abc import Callable, Iterable
from typing import Any

from celery import bootsteps
from celery.worker.consumer.tasks import Tasks

from headrace.consumer.pool import BatchPool

#: Messages that a worker holds at most. Lanes hold far fewer: it bounds countdowns and
#: retries, which wait in the worker's memory until they are due.
HELD_LIMIT = 4096


class OpenQueues:
    """The channel's queues in turn, without those whose lane is full.

    Has the methods that kombu's Redis channel calls on its cycle of queues.
    """

    def __init__(self, queues: Iterable[str], has_room: Callable[[str], bool]) -> None:
        self._queues = list(queues)
        self._has_room = has_room

    def __bool__(self) -> bool:
        """Whether any queue may be claimed from."""
        return any(map(self._has_room, self._queues))

    def update(self, queues: Iterable[str]) -> None:
        """The channel consumes from these from now on."""
        self._queues = list(queues)

    def consume(self, count: int) -> list[str]:
        """The open ones among the next `count` queues."""
        return list(filter(self._has_room, self._queues[:count]))

    def rotate(self, last: str) -> str:
        """A message came from this queue: the others come first now."""
        if last in self._queues:
            self._queues.remove(last)
            self._queues.append(last)
        return last


class Credit(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Replaces the channel's count of messages by the lanes' counts of items."""

    requires = (Tasks,)

    def start(self, consumer: Any) -> None:
        """Take over the channel of this connection."""
        pool: BatchPool = consumer.pool
        channel = consumer.task_consumer.channel
        qos = channel.qos
        open_queues = OpenQueues(channel.active_queues, pool.has_room)
        # The transport has no other seam: it asks `can_consume`, then the cycle for the queues.
        channel._queue_cycle = open_queues  # noqa: SLF001

        def can_consume() -> bool:
            held = len(qos._delivered) - len(qos._dirty)  # noqa: SLF001 - kombu's own count, without a getter
            return held < HELD_LIMIT and bool(open_queues)

        qos.can_consume = can_consume
