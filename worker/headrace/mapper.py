"""Mapper: many inputs through few chunks at a time."""

import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from headrace.broker.results import value_of
from headrace.broker.waiter import Meta
from headrace.errors import HeadraceError, QueueFull, error_from_wire

#: Seconds between two calls of `on_wait`.
_WAIT_SECONDS = 1.0
#: Seconds for which a full queue is waited for.
_FULL_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MapItem:
    """One input's outcome."""

    #: Position of the element in what was mapped, and the element.
    index: int
    source: Any
    output: Any = None
    error: HeadraceError | None = None
    #: Items in the batch that it ran in; 0 if it never ran.
    batch_size: int = 0


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapper:
    """Keeps a bounded number of chunks in flight. All it needs is passed in."""

    #: Sends values as the job of an id.
    send: Callable[[str, list[Any]], object]
    futures: Callable[[Sequence[str]], list[Future[Meta]]]
    discard: Callable[[Sequence[str]], None]
    #: Called with the jobs in flight when the mapping ends early.
    cancel: Callable[[Sequence[str]], None]
    #: Takes the model's input out of an element; raises HeadraceError to refuse it.
    read: Callable[[Any], Any]
    #: Called about once a second while nothing arrives; may raise.
    on_wait: Callable[[], None]

    def run(self, inputs: Iterable[Any], *, chunk_size: int, max_chunks: int, ordered: bool) -> Generator[MapItem]:
        """Yield one item per input."""
        groups = _grouped(inputs, chunk_size)
        flying: deque[Chunk] = deque()
        unread: dict[str, None] = {}
        try:
            for group in groups:
                flying.append(self._start(group, unread))
                for landed in self._landed(flying, ordered=ordered, most=max_chunks - 1):
                    yield from self._read(landed, unread)
            for landed in self._landed(flying, ordered=ordered, most=0):
                yield from self._read(landed, unread)
        finally:
            # Left early, by an error or by the caller: nobody will read these.
            if unread:
                self.cancel(list(unread))

    def _start(self, group: Sequence[tuple[int, Any]], unread: dict[str, None]) -> Chunk:
        sent, values, refused = [], [], []
        for index, source in group:
            try:
                values.append(self.read(source))
            except HeadraceError as error:
                refused.append(MapItem(index=index, source=source, error=error))
            else:
                sent.append((index, source))
        if not values:
            return Chunk(job_id=None, future=None, sent=sent, refused=refused)
        job_id = str(uuid.uuid4())
        # Hazard: Ctrl-C may come while it is sent, and it must be cancelled then.
        unread[job_id] = None
        self._send(job_id, values)
        return Chunk(job_id=job_id, future=self.futures([job_id])[0], sent=sent, refused=refused)

    def _send(self, job_id: str, values: list[Any]) -> None:
        """Send a chunk, and wait while the queue is full: what is mapped may be longer than it."""
        deadline = time.monotonic() + _FULL_SECONDS
        while True:
            try:
                self.send(job_id, values)
            except QueueFull:
                if time.monotonic() > deadline:
                    raise
                self.on_wait()
                time.sleep(_WAIT_SECONDS)
            else:
                return

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
                self._wait(candidates)

    def _read(self, chunk: Chunk, unread: dict[str, None]) -> Iterator[MapItem]:
        if chunk.job_id is not None:
            unread.pop(chunk.job_id)
        yield from sorted(self._items(chunk), key=lambda item: item.index)

    def _wait(self, chunks: Sequence[Chunk]) -> None:
        futures = [chunk.future for chunk in chunks if chunk.future is not None]
        if not wait(futures, timeout=_WAIT_SECONDS, return_when=FIRST_COMPLETED).done:
            self.on_wait()

    def _items(self, chunk: Chunk) -> Iterator[MapItem]:
        yield from chunk.refused
        if chunk.future is None or chunk.job_id is None:
            return
        try:
            rows = value_of(chunk.future.result())
        except HeadraceError as error:
            yield from (MapItem(index=index, source=source, error=error) for index, source in chunk.sent)
        else:
            for (index, source), row in zip(chunk.sent, rows, strict=True):
                yield _item(index, source, row)
        self.discard([chunk.job_id])


def _item(index: int, source: Any, row: dict[str, Any]) -> MapItem:
    return MapItem(
        index=index,
        source=source,
        output=row.get("output"),
        error=None if row["ok"] else error_from_wire(row["error"]),
        batch_size=row.get("batch_size", 0),
    )


def _grouped(inputs: Iterable[Any], size: int) -> Iterator[list[tuple[int, Any]]]:
    numbered = enumerate(inputs)
    while group := list(itertools.islice(numbered, size)):
        yield group
