"""Mapper: many inputs through few chunks at a time."""

import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.broker.results import value_of
from headrace.broker.waiter import Meta
from headrace.chunking import MOST_BYTES, Chunking
from headrace.errors import BrokerUnavailable, HeadraceError, QueueFull, error_from_wire

#: Seconds between two calls of `on_wait`.
_WAIT_SECONDS = 1.0
#: Results that are deleted in one call.
_DISCARDED_AT_ONCE = 16
#: Seconds for which a full queue is waited for, and a Redis that takes nothing.
_FULL_SECONDS, _AWAY_SECONDS = 600.0, 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MapItem:
    """One input's outcome."""

    #: Position of the element in what was mapped, and the element.
    index: int
    source: Any
    output: Any = None
    error: HeadraceError | None = None
    #: Items in the batch that it ran in, and its share of that batch's seconds; 0 if it never ran.
    batch_size: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chunk:
    """A job in flight, and the items that were refused before it was sent."""

    job_id: str | None
    future: Future[Meta] | None
    #: Positions and elements of the inputs that were sent, in order.
    sent: list[tuple[int, Any]]
    refused: list[MapItem]

    @property
    def landed(self) -> bool:
        """Whether all of its items can be yielded."""
        return self.future is None or self.future.done()


class Jobs(Protocol):
    """What carries the chunks; `Flight` does."""

    def expect(self, job_id: str) -> Future[Meta]:
        """A future for a job that is about to be sent."""

    def send(self, job_id: str, values: list[Any]) -> None:
        """Send values as the job of an id; raises QueueFull if too many wait, BrokerUnavailable if it cannot."""

    def seek(self, job_ids: Sequence[str]) -> None:
        """Answer those that are lost; called about once a second while nothing arrives."""

    def discard(self, job_ids: Sequence[str]) -> None:
        """Delete results that were read."""

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs that nobody will read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapper:
    """Keeps a bounded number of chunks in flight. All it needs is passed in."""

    jobs: Jobs
    #: Takes the model's input out of an element, with its size in bytes; raises HeadraceError to refuse it.
    read: Callable[[Any], tuple[Any, int]]
    #: Called about once a second while nothing arrives; may raise.
    on_wait: Callable[[], None]
    chunking: Chunking

    def run(self, inputs: Iterable[Any], *, ordered: bool) -> Generator[MapItem]:
        """Yield one item per input."""
        numbered = enumerate(inputs)
        flying: deque[Chunk] = deque()
        unread: dict[str, None] = {}
        done: list[str] = []
        try:
            while chunk := self._start(numbered, unread):
                flying.append(chunk)
                for landed in self._landed(flying, ordered=ordered, most=self.chunking.in_flight - 1):
                    yield from self._read(landed, unread, done)
            for landed in self._landed(flying, ordered=ordered, most=0):
                yield from self._read(landed, unread, done)
        finally:
            self.jobs.discard(done)
            # Left early, by an error or by the caller: nobody will read these.
            if unread:
                self.jobs.abandon(list(unread))

    def _start(self, numbered: Iterator[tuple[int, Any]], unread: dict[str, None]) -> Chunk | None:
        """Send the next chunk; None if there are no more inputs."""
        sent: list[tuple[int, Any]] = []
        values: list[Any] = []
        refused: list[MapItem] = []
        size = 0
        for index, source in itertools.islice(numbered, self.chunking.size):
            try:
                value, count = self.read(source)
            except HeadraceError as error:
                refused.append(MapItem(index=index, source=source, error=error))
                continue
            values.append(value)
            sent.append((index, source))
            size += count
            if size >= MOST_BYTES:
                break
        if not values:
            return Chunk(job_id=None, future=None, sent=sent, refused=refused) if refused else None
        job_id = str(uuid.uuid4())
        # Hazard: Ctrl-C may come while it is sent, and it must be cancelled then.
        unread[job_id] = None
        future = self.jobs.expect(job_id)
        self._send(job_id, values, begun=sent[0][0] > 0)
        return Chunk(job_id=job_id, future=future, sent=sent, refused=refused)

    def _send(self, job_id: str, values: list[Any], *, begun: bool) -> None:
        """Send a chunk; wait while the queue is full, which may be shorter than what is mapped, or Redis is away."""
        begin = time.monotonic()
        while True:
            try:
                self.jobs.send(job_id, values)
            except QueueFull:
                if time.monotonic() > begin + _FULL_SECONDS:
                    raise
            except BrokerUnavailable:
                # Hazard: it may have been taken all the same. It runs twice then, and has one outcome.
                if not begun or time.monotonic() > begin + _AWAY_SECONDS:
                    raise
            else:
                return
            self.on_wait()
            time.sleep(_WAIT_SECONDS)

    def _landed(self, flying: deque[Chunk], *, ordered: bool, most: int) -> Iterator[Chunk]:
        """Take out what is there; wait only while more than `most` chunks fly."""
        while flying:
            candidates = list(flying)[: 1 if ordered else None]
            landed = next((chunk for chunk in candidates if chunk.landed), None)
            if landed is not None:
                flying.remove(landed)
                yield landed
            elif len(flying) <= most:
                return
            else:
                self._wait(candidates, flying)

    def _read(self, chunk: Chunk, unread: dict[str, None], done: list[str]) -> Iterator[MapItem]:
        if chunk.job_id is not None:
            unread.pop(chunk.job_id)
            done.append(chunk.job_id)
        items = [*chunk.refused, *self._items(chunk)]
        ran = [item.seconds for item in items if item.batch_size]
        self.chunking.ran(len(ran), sum(ran))
        if len(done) >= _DISCARDED_AT_ONCE:
            self.jobs.discard(done)
            done.clear()
        yield from sorted(items, key=lambda item: item.index) if chunk.refused else items

    def _wait(self, chunks: Sequence[Chunk], flying: Iterable[Chunk]) -> None:
        futures = [chunk.future for chunk in chunks if chunk.future is not None]
        if not wait(futures, timeout=_WAIT_SECONDS, return_when=FIRST_COMPLETED).done:
            self.jobs.seek([chunk.job_id for chunk in flying if chunk.job_id is not None and not chunk.landed])
            self.on_wait()

    def _items(self, chunk: Chunk) -> Iterator[MapItem]:
        if chunk.future is None:
            return
        try:
            rows = value_of(chunk.future.result())
        except HeadraceError as error:
            yield from (MapItem(index=index, source=source, error=error) for index, source in chunk.sent)
        else:
            for (index, source), row in zip(chunk.sent, rows, strict=True):
                yield _item(index, source, row)


def _item(index: int, source: Any, row: dict[str, Any]) -> MapItem:
    return MapItem(
        index=index,
        source=source,
        output=row.get("output"),
        error=None if row["ok"] else error_from_wire(row["error"]),
        batch_size=row.get("batch_size", 0),
        seconds=row.get("seconds", 0.0),
    )
