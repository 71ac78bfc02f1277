"""The embedded broker's folder: where its data, locks, log and socket lie, and who may enter."""

import hashlib
import os
import re
import stat
from pathlib import Path

from headrace.errors import ConfigError

#: `sockaddr_un.sun_path` of macOS, the shortest, with its closing zero byte.
_MOST_SOCKET_BYTES = 104
#: What needs no escape in a URL, whoever parses it.
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
_LOG_TAIL_LINES = 8
_LOG_TAIL_BYTES = 4096


class BrokerFolder:
    """One server's folder, `<state_dir>/broker/<engine>-<major>`."""

    def __init__(self, state_dir: Path, data_name: str) -> None:
        self.path = state_dir.expanduser().resolve() / "broker" / data_name
        self.log = self.path / "broker.log"
        self.socket = self._socket_path()

    @property
    def url(self) -> str:
        """The URL that Celery, kombu and Flower take."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    def create(self) -> None:
        """Make the folder, for this user alone.

        Raises:
            ConfigError: If it cannot be made or others may enter it.
        """
        try:
            self.path.parent.parent.mkdir(parents=True, exist_ok=True)
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            _check_private(self.path)
        except OSError as error:
            raise ConfigError(
                f"cannot keep a broker in {self.path} ({error.strerror}):"
                " set HEADRACE_STATE_DIR to a folder that you may write"
            ) from None

    def exists(self) -> bool:
        """Whether somebody made the folder.

        Raises:
            ConfigError: If it is not this user's alone.
        """
        try:
            _check_private(self.path)
        except OSError:
            return False
        return True

    def create_socket_folder(self) -> None:
        """Make the socket's own folder, if the path in this one is too long for a socket.

        Raises:
            ConfigError: If somebody else made it first, or it cannot be made.
        """
        folder = self.socket.parent
        if folder == self.path:
            return
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            # Security: anybody may write /tmp; never speak to a socket in another user's folder.
            _check_private(folder)
        except OSError as error:
            raise ConfigError(
                f"cannot keep the broker's socket in {folder} ({error.strerror}):"
                " set HEADRACE_STATE_DIR to a short path of plain letters"
            ) from None

    def rotate_log(self) -> None:
        """Keep the last server's messages aside, so that the log's size stays bounded."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))

    def log_tail(self) -> str:
        """The log's last lines, for an error message."""
        try:
            text = self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-_LOG_TAIL_LINES:])

    def _socket_path(self) -> Path:
        inside = self.path / "broker.sock"
        if len(os.fsencode(inside)) < _MOST_SOCKET_BYTES and _PLAIN.fullmatch(str(inside)):
            return inside
        key = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        # Not $TMPDIR: two users of one folder may have different ones and must meet here.
        return Path(f"/tmp/headrace-{os.geteuid()}-{key}/broker.sock")  # noqa: S108 - made private and checked


def _check_private(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{folder} is not a folder: remove it, or set HEADRACE_STATE_DIR to another place")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{folder} belongs to user {found.st_uid}: set HEADRACE_STATE_DIR to a folder of your own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(
            f"others may enter {folder}: run `chmod 700 {folder}`,"
            " or set HEADRACE_STATE_DIR to a file system with permissions"
        )
