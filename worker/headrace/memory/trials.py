"""Trials: batches larger than all before them are noted on disk while they run.

What kills a process tells it nothing: the kernel's memory killer, a segmentation fault. The next process finds
the note, which nobody holds locked any more.
"""

import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from headrace.memory.allowance import Failure
from headrace.memory.shape import Shape

logger = logging.getLogger(__name__)

#: Seconds after which a death is forgotten, since the device and what else uses it may be others by then.
_KEEP_SECONDS = 86_400
#: Of the notes of one model, how many are kept.
_MOST = 16
_NAME = re.compile(r".*\.trying-\d+-(\d+)")


class Trials:
    """The notes of one model, configuration and device."""

    def __init__(self, folder: Path, stem: str, *, clock: Callable[[], int] = time.time_ns) -> None:
        """Note nothing yet.

        Args:
            folder: Where notes lie, those of other processes too.
            stem: What the names of this model's begin with.
            clock: Epoch nanoseconds.
        """
        self._folder = folder
        self._stem = stem
        self._clock = clock

    @contextmanager
    def noted(self, shape: Shape, room: int) -> Iterator[None]:
        """Leave a note should the process die within; where none can be written, that is all."""
        try:
            note = self._write(shape, room)
        except OSError as error:
            logger.warning("should the engine die of its next batch, it will be tried again: %s", error)
            yield
            return
        with note:
            try:
                yield
            finally:
                with suppress(OSError):
                    Path(note.name).unlink(missing_ok=True)

    def _write(self, shape: Shape, room: int) -> IO[str]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{self._stem}.trying-{os.getpid()}-{self._clock()}"
        note = path.open("w")
        # Hazard: ids of processes come again, and containers that share the folder have the same ones; the
        # kernel drops the lock with its holder.
        fcntl.flock(note, fcntl.LOCK_EX)
        note.write(json.dumps(asdict(shape) | {"room": room}))
        note.flush()
        return note

    def left(self) -> list[Failure]:
        """What processes have died of, the oldest first.

        Where an item died alone, the deaths until then may have been its fault: they are forgotten.
        """
        found = [(path, death) for path in self._notes() if (death := _read(path))]
        lone = [number for number, (_, death) in enumerate(found) if death.shape.items == 1]
        begin = max(lone[-1] + 1 if lone else 0, len(found) - _MOST)
        for path, _ in found[:begin]:
            path.unlink(missing_ok=True)
        return [death for _, death in found[begin:]]

    def _notes(self) -> list[Path]:
        notes = sorted((began, path) for path in self._folder.glob(f"{self._stem}.trying-*") if (began := _began(path)))
        oldest = self._clock() - _KEEP_SECONDS * 10**9
        for began, path in notes:
            if began < oldest:
                path.unlink(missing_ok=True)
        return [path for began, path in notes if began >= oldest]


def forgive(folder: Path, pid: int, since: int) -> None:
    """Drop the notes of a process that was killed on purpose.

    Args:
        folder: Where they lie.
        pid: Its id.
        since: Epoch nanoseconds of its start: an older process may have had the same id.
    """
    for path in folder.glob(f"*.trying-{pid}-*"):
        if _began(path) >= since:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _began(path: Path) -> int:
    """Epoch nanoseconds; 0 for what is no note."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _read(path: Path) -> Failure | None:
    """What a dead process has left; None if it lives."""
    try:
        with path.open() as note:
            fcntl.flock(note, fcntl.LOCK_SH | fcntl.LOCK_NB)
            told = json.load(note)
            shape = Shape(int(told["items"]), int(told["units"]), int(told["longest"]))
            return Failure(shape=shape, reached=0, tried=0, room=int(told["room"]), silent=True)
    except (OSError, ValueError, TypeError, LookupError, OverflowError):
        return None
