"""The process that keeps the embedded server while it has users, and ends it after them.

It is started as a file with `python -I -S`, so that it is quick and needs no import path:
the standard library only. Four locks (flock, which the kernel drops with its last holder, so
also after kill -9) say who is there; none of them is ever deleted:

    start.lock      one starter at a time; taken by users only
    users.lock      shared by every user for its whole life; the guardian waits for it alone
    guardian.lock   held by the one guardian on duty
    server.lock     held by the guardian and, through the same open file, by its server

1. A starter, which holds start.lock and a share of users.lock, runs this file.
2. It takes guardian.lock and server.lock, forks away, and returns: a guardian is on duty.
3. The guardian starts the server, and again if it dies while there are users.
4. A thread asks for users.lock alone. Once it is granted nobody uses the server, and nobody
   can begin to: a new user waits for its share until the guardian has gone, then starts afresh.
"""

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

START_LOCK, USERS_LOCK = "start.lock", "users.lock"
GUARDIAN_LOCK, SERVER_LOCK = "guardian.lock", "server.lock"

#: Exit status: another guardian is on duty.
TAKEN = 3
#: Exit status: a server without a guardian does not end.
ORPHAN = 4

_POLL = 0.02
_ORPHAN_SECONDS = 10.0
_STOP_SECONDS = 10.0
#: A server that lived shorter than this counts as one that failed to start.
_SHORT_LIFE = 1.0
_MOST_FAILURES = 4
_BACKOFF = 0.05
_PR_SET_PDEATHSIG = 1


def take_lock(path: Path, mode: int, timeout: float) -> int | None:
    """Lock a file (`fcntl.LOCK_SH` or `LOCK_EX`) and return its descriptor, or None in time.

    The lock lasts until the descriptor is closed. Python opens it close-on-exec, so no
    program started from here keeps it; a process forked without exec does, as a user too.

    Raises:
        OSError: If the file cannot be opened, or its file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + timeout
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
                return descriptor
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(_POLL)
    except OSError:
        os.close(descriptor)
        raise


def is_held(path: Path, *, alone: bool = True) -> bool:
    """Whether somebody holds the lock alone, or, with `alone=False`, at all."""
    descriptor = take_lock(path, fcntl.LOCK_SH if alone else fcntl.LOCK_EX, 0)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def ask(socket_path: Path, command: str, *, timeout: float = 1.0) -> str | None:
    """Send one command word to the server and return its reply's first line, None without one."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(socket_path))
            connection.sendall(f"*1\r\n${len(command)}\r\n{command}\r\n".encode())
            reply = connection.recv(512)
    except OSError:
        return None
    return reply.split(b"\r\n", 1)[0].decode(errors="replace") or None


class Guardian:
    """Keeps one server process in `folder` until the last user has gone."""

    def __init__(self, folder: Path, socket_path: Path, command: list[str], *, server_lock: int) -> None:
        self._folder = folder
        self._socket_path = socket_path
        self._command = command
        self._server_lock = server_lock
        self._events: SimpleQueue[str] = SimpleQueue()

    def run(self) -> int:
        """Serve until the last user has gone (0) or the server will not run (1)."""
        threading.Thread(target=self._await_last_user, daemon=True).start()
        failures = 0
        while True:
            started = time.monotonic()
            server = self._spawn()
            if self._watch(server):
                return 0
            _log(f"the server ended with status {server.returncode} while it had users")
            failures = failures + 1 if time.monotonic() - started < _SHORT_LIFE else 1
            if failures == _MOST_FAILURES:
                _log("the server does not stay up: giving up")
                return 1
            if self._last_user_left(_BACKOFF * 2**failures):
                return 0

    def _spawn(self) -> subprocess.Popen[bytes]:
        # Hazard: the death signal fires when the *thread* that spawned ends: main thread only.
        # server.lock goes along, so that it stays held while the server lives without us.
        return subprocess.Popen(
            self._command,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            pass_fds=(self._server_lock,),
            preexec_fn=_end_with_parent(os.getpid()),  # noqa: PLW1509 - our other threads hold no lock
        )

    def _watch(self, server: subprocess.Popen[bytes]) -> bool:
        """Wait for the first of two: the last user goes (True, and the server is ended), the server dies."""
        threading.Thread(target=self._await_server, args=(server,), daemon=True).start()
        if self._events.get() == "died":
            return False
        self._stop(server)
        return True

    def _last_user_left(self, seconds: float) -> bool:
        with suppress(Empty):
            return self._events.get(timeout=seconds) == "alone"
        return False

    def _await_last_user(self) -> None:
        # The descriptor stays open, and the lock held, until this process has ended.
        fcntl.flock(os.open(self._folder / USERS_LOCK, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
        self._events.put("alone")

    def _await_server(self, server: subprocess.Popen[bytes]) -> None:
        server.wait()
        self._events.put("died")

    def _stop(self, server: subprocess.Popen[bytes]) -> None:
        server.terminate()
        try:
            self._events.get(timeout=_STOP_SECONDS)
        except Empty:
            server.kill()
            self._events.get()
        self._socket_path.unlink(missing_ok=True)
        if self._socket_path.parent != self._folder:
            with suppress(OSError):
                self._socket_path.parent.rmdir()


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """What the server's process does before exec so that it gets SIGTERM when we are killed."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # Hazard: we died before prctl, and no signal will come.
            os._exit(1)

    return prepare


def _claim_server_lock(folder: Path, socket_path: Path) -> int | None:
    """Take server.lock; whoever holds it lost its guardian to kill -9 and must end first."""
    # Hazard: two servers on one data folder ruin it. Linux has sent the orphan SIGTERM;
    # macOS has no death signal, so it is asked to go.
    path = folder / SERVER_LOCK
    lock = take_lock(path, fcntl.LOCK_EX, 0)
    if lock is None:
        ask(socket_path, "SHUTDOWN")
        lock = take_lock(path, fcntl.LOCK_EX, _ORPHAN_SECONDS)
    return lock


def _log(message: str) -> None:
    sys.stderr.write(f"guardian {os.getpid()}: {message}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Go on duty for `FOLDER SOCKET COMMAND...`; returns in the parent at once, in the child at the end."""
    folder, socket_path, command = Path(arguments[0]), Path(arguments[1]), arguments[2:]
    # The users decide: a Ctrl-C, or a SIGTERM to every process of a service, must not take
    # the server from workers that drain.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if take_lock(folder / GUARDIAN_LOCK, fcntl.LOCK_EX, 0) is None:
        return TAKEN
    server_lock = _claim_server_lock(folder, socket_path)
    if server_lock is None:
        return ORPHAN
    # Locks pass on to a fork: when the starter sees this process end, its child is on duty.
    # The starter never has a child to reap, and no thread runs yet that a fork could harm.
    if os.fork():
        return 0
    return Guardian(folder, socket_path, command, server_lock=server_lock).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
