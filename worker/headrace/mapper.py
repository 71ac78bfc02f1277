"""Mapper: many inputs through few chunks at a time."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Any

from headrace.broker.results import value_of
from headrace.broker.waiter import Meta
from headrace.errors import HeadraceError, error_from_wire

#: Seconds between two calls of `on_wait`.
_WAIT_SECONDS = 1.0


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

    send: Callable[[list[Any]], str]
    futures: Callable[[Sequence[str]], list[Future[Meta]]]
    discard: Callable[[Sequence[str]], None]
    #: Called with the jobs in flight when the mapping ends early.
    cancel: Callable[[Sequence[str]], None]
    #: Takes the model's input out of an element; raises HeadraceError to refuse it.
    read: Callable[[Any], Any]
    #: Whether a worker has died since it was asked last; asked while nothing arrives.
    on_wait: Callable[[], bool]
    #: Called with the jobs in flight when a worker has died, before they are sent anew.
    recall: Callable[[Sequence[str]], None]

    def run(self, inputs: Iterable[Any], *, chunk_size: int, max_chunks: int, ordered: bool) -> Generator[MapItem]:
        """Yield one item per input."""
        groups = _grouped(inputs, chunk_size)
        flying: deque[Chunk] = deque()
        try:
            for group in groups:
                flying.append(self._start(group))
                yield from self._land(flying, ordered=ordered, most=max_chunks - 1)
            yield from self._land(flying, ordered=ordered, most=0)
        finally:
            # Left early, by an error or by the caller: nobody will read these.
            if unread := [chunk.job_id for chunk in flying if chunk.job_id is not None]:
                self.cancel(unread)

    def _start(self, group: Sequence[tuple[int, Any]]) -> Chunk:
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
        job_id = self.send(values)
        return Chunk(job_id=job_id, future=self.futures([job_id])[0], sent=sent, refused=refused)

    def _land(self, flying: deque[Chunk], *, ordered: bool, most: int) -> Iterator[MapItem]:
        """Yield what is there; wait only while more than `most` chunks fly."""
        while flying:
            candidates = list(flying)[: 1 if ordered else None]
            landed = next((chunk for chunk in candidates if chunk.landed), None)
            if landed is not None:
                flying.remove(landed)
                yield from sorted(self._items(landed), key=lambda item: item.index)
            elif len(flying) <= most:
                return
            else:
                self._wait(candidates, flying)

    def _wait(self, chunks: Sequence[Chunk], flying: deque[Chunk]) -> None:
        futures = [chunk.future for chunk in chunks if chunk.future is not None]
        if wait(futures, timeout=_WAIT_SECONDS, return_when=FIRST_COMPLETED).done:
            return
        if self.on_wait():
            self._send_anew(flying)

    def _send_anew(self, flying: deque[Chunk]) -> None:
        """Replace the jobs in flight: what the dead worker had claimed may be lost."""
        # Hazard: a job that is recalled lands too, as revoked, so what is lost is noted first.
        lost = [(position, chunk) for position, chunk in enumerate(flying) if not chunk.landed]
        self.recall([chunk.job_id for _, chunk in lost if chunk.job_id is not None])
        for position, chunk in lost:
            again = self._start(chunk.sent)
            flying[position] = replace(again, refused=chunk.refused + again.refused)

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
