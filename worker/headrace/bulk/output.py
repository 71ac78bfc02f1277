"""The file that a run writes: complete, or not there."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from headrace.errors import ConfigError


class OutputFile:
    """A binary file that takes its name when the block ends without an error.

    Until then it is `<path>.part` in the same folder; after an error it stays that, and a
    note on the error says so. Pipes and devices are written directly.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, OutputFile(Path(folder, "out.jsonl")) as stream:
        ...     stream.write(b"{}")
        2
    """

    _stream: BinaryIO

    def __init__(self, path: Path) -> None:
        self._path = path
        self._final = path
        #: Where the rows are until the block ends.
        self.part = path

    def __enter__(self) -> BinaryIO:
        try:
            self._stream = self._open()
        except BlockingIOError:
            raise ConfigError(f"another run is writing {self._path}: choose another output") from None
        except OSError as error:
            raise ConfigError(
                f"cannot write the output {self._path} ({error.strerror}): name a file in a folder"
                " that exists and that you may write"
            ) from None
        return self._stream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
            elif self.part != self._final:
                self._leave(error)
        finally:
            with suppress(OSError):
                self._stream.close()

    def _leave(self, error: BaseException) -> None:
        if self._stream.tell():
            error.add_note(f"the rows so far are in {self.part}")
        else:
            self.part.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        if self._path.exists() and not self._path.is_file():
            # A device or a pipe must not be replaced; a folder is refused by `open`.
            return self._path.open("wb")
        # A link is kept: what it points to is replaced.
        self._final = self._path.resolve()
        self.part = self._final.with_name(f"{self._final.name}.part")
        return _open_alone(self.part)

    def _finish(self) -> None:
        try:
            self._stream.flush()
            if self.part != self._final:
                os.fsync(self._stream.fileno())
                self.part.replace(self._final)
        except OSError as error:
            raise ConfigError(
                f"cannot finish the output {self._path} ({error.strerror}): the rows so far are in {self.part}"
            ) from None


@contextmanager
def output_errors() -> Iterator[None]:
    """Turn a full disk, and whatever else keeps a row from being written, into ConfigError."""
    try:
        yield
    except BrokenPipeError as error:
        raise ConfigError("the output's reader has closed it: the rows that follow are lost") from error
    except OSError as error:
        raise ConfigError(f"cannot write the output ({error.strerror}): make room, or name another file") from error


def _open_alone(part: Path) -> BinaryIO:
    """Open and empty a file that no other run has open.

    Raises:
        BlockingIOError: If one has.
    """
    while True:
        stream = part.open("ab")
        try:
            _lock(stream)
            # Hazard: its owner may have given it the final name since we opened it.
            if part.exists() and os.path.samestat(part.stat(), os.fstat(stream.fileno())):
                stream.truncate(0)
                return stream
        except OSError:
            stream.close()
            raise
        stream.close()


def _lock(stream: BinaryIO) -> None:
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return  # A file system without locks; two runs of one output are the user's own care there.
