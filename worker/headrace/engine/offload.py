"""OffloadFolders: an engine's own folders for weights that wait on disk, among those of other engines."""

import contextlib
import fcntl
import logging
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import SetupFailed
from headrace.sdk.offload import remove_folder

logger = logging.getLogger(__name__)

#: An engine's lock, which its folders' names begin with.
_LOCK = ".lock"
_OWNER = re.compile(r"[0-9a-f]{32}")


class OffloadFolders:
    """A lock tells that their engine lives: ids of processes come again, and other containers have the same ones."""

    def __init__(self, folder: Path) -> None:
        """Make nothing yet.

        Args:
            folder: Where all engines of one state have theirs.
        """
        self._folder = folder
        self._owner = uuid.uuid4().hex
        self._lock: int | None = None

    def name(self, model: str) -> Path:
        """A model's folder, which is not made; nobody else removes it while this engine lives.

        Raises:
            SetupFailed: If it cannot be claimed.
        """
        if self._lock is None:
            try:
                self._lock = self._claim()
            except OSError as error:
                raise SetupFailed(f"offload folder {self._folder} can't be used: {error.strerror}") from error
        return self._path(model)

    def remove(self, model: str) -> None:
        """Remove a model's folder, if there is one; what prevents it is logged."""
        try:
            remove_folder(self._path(model))
        except SetupFailed as error:
            logger.warning("model %s: %s", model, error)

    def sweep(self) -> None:
        """Remove the folders of engines that died."""
        for path in self._folder.glob(f"*{_LOCK}"):
            if _OWNER.fullmatch(path.stem):
                with contextlib.suppress(OSError, SetupFailed), _locked(path):
                    self._remove_all(path.stem)
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove this engine's."""
        if self._lock is None:
            return
        try:
            self._remove_all(self._owner)
            self._lock_path.unlink(missing_ok=True)
        except (OSError, SetupFailed) as error:
            logger.warning("the next engine is to remove what this one has left: %s", error)
        os.close(self._lock)
        self._lock = None

    def _claim(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Locked before it has its name: a sweeper never sees it without.
        unnamed = self._folder / f"{self._owner}.new"
        lock = os.open(unnamed, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        unnamed.rename(self._lock_path)
        return lock

    @property
    def _lock_path(self) -> Path:
        return self._folder / f"{self._owner}{_LOCK}"

    def _path(self, model: str) -> Path:
        return self._folder / f"{self._owner}-{model}"

    def _remove_all(self, owner: str) -> None:
        for path in self._folder.glob(f"{owner}-*"):
            remove_folder(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that nobody holds.

    Raises:
        OSError: If somebody does, or it is gone.
    """
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
