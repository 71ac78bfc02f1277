"""EngineProcess: the worker's handle on one engine."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from headrace.engine.messages import Decoder, Message, Shutdown
from headrace.memory.trials import forgive

Part = TypeVar("Part")

_RECEIVE_BYTES = 1 << 20
#: Seconds that a child whose socket is closed may take until it has ended.
_DYING_LIMIT = 1.0
#: Seconds that a killed child is waited for.
_KILL_LIMIT = 5.0
#: Seconds that an engine may take to clean up after Shutdown.
_SHUTDOWN_LIMIT = 5.0
#: What an engine's libraries are told, unless the user tells them otherwise, so that memory is free again once
#: it was freed. By default glibc keeps blocks of up to 32 MiB, in an arena for each thread, and oneDNN and
#: torch's layer above it the kernels of 1,024 shapes of matrices each: half a gigabyte. No difference in speed
#: was measured.
FRUGAL = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2 * 2**20),
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
    "LRU_CACHE_CAPACITY": "16",
}
#: What an engine begins with: transformers does not fetch a kernel from a hub by itself where one is missing.
DEFAULTS = {**FRUGAL, "USE_HUB_KERNELS": "NO"}


class EngineProcess:
    """Spawns an engine, sends it messages, reads its answers, knows how it ended."""

    def __init__(self, device: str, environment: Mapping[str, str], *, costs: Path | None = None) -> None:
        """Start nothing yet.

        Args:
            device: What it owns.
            environment: The child's.
            costs: Folder in which it notes the batches that it may die of; None for nowhere.
        """
        self._device = device
        self._environment = {**DEFAULTS, **environment}
        self._costs = costs
        self._started_at = 0
        #: Whether it did not die by itself.
        self._ended_by_us = False
        self._decoder = Decoder()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        #: The same socket by another descriptor: an event loop watches one for either reading or writing.
        self._outlet: socket.socket | None = None
        #: What the engine has not taken yet, in order.
        self._outgoing: deque[memoryview] = deque()

    def start(self) -> None:
        """Spawn the child in a session of its own, so that Ctrl-C reaches only the worker."""
        self._started_at = time.time_ns()
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as on_error:
            on_error.callback(ours.close)
            outlet = ours.dup()
            on_error.callback(outlet.close)
            self._process = subprocess.Popen(
                self._command(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=2,
            )
            on_error.pop_all()
        self._socket, self._outlet = ours, outlet
        for each in (ours, outlet):
            each.setblocking(False)  # noqa: FBT003 - the socket module's own

    def _command(self, fd: int) -> list[str]:
        # -P keeps the current folder off sys.path: a stray module there must not be run.
        base = [sys.executable, "-P", "-m", "headrace.engine"]
        return [*base, "--fd", str(fd), "--parent", str(os.getpid()), "--device", self._device]

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._running.pid

    def fileno(self) -> int:
        """The socket's descriptor, for an event loop to watch."""
        return self._connection.fileno()

    def outlet(self) -> int:
        """The descriptor to watch for room while something is `unsent`."""
        return _existing(self._outlet).fileno()

    @property
    def unsent(self) -> bool:
        """Whether the engine has not taken all that it was sent."""
        return bool(self._outgoing)

    def send(self, data: bytes) -> None:
        """Send an encoded message after those before it, as far as the engine takes it now.

        An engine whose plugin holds the interpreter's lock reads nothing for as long; it is not dead, so nobody
        waits for it. The worker's credit bounds what lies here meanwhile.

        Args:
            data: The message; empty to send on what is `unsent`.

        Raises:
            OSError: If the engine is gone.
        """
        outlet = _existing(self._outlet)
        if data:
            self._outgoing.append(memoryview(data))
        while self._outgoing:
            try:
                count = outlet.send(self._outgoing[0])
            except BlockingIOError:
                return
            self._outgoing[0] = self._outgoing[0][count:]
            if not self._outgoing[0]:
                self._outgoing.popleft()

    def receive(self) -> Iterator[Message]:
        """Yield what has arrived, without waiting.

        Raises:
            EOFError: If the engine has closed its end: it is dead or dying.
        """
        while True:
            try:
                data = self._connection.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError
            yield from self._decoder.feed(data)

    def kill(self) -> None:
        """End the engine now; its answers that have arrived can still be received."""
        if self._process is not None and self._process.poll() is None:
            self._ended_by_us = True
            self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> str:
        """End the child if it lives, free the socket, and say how it ended.

        A child that is dying already gets a moment, so that it is told by its own cause.
        """
        self.kill_after(_DYING_LIMIT)
        self._close_sockets()
        status = self._running.returncode
        return "still there after SIGKILL" if status is None else describe_exit(status)

    def kill_after(self, seconds: float) -> None:
        """Give the child some seconds to end by itself, then kill it."""
        try:
            self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            self._kill()
            # A process that hangs in a driver may outlive SIGKILL; it must not hold us up.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(_KILL_LIMIT)

    def close(self) -> None:
        """Ask the engine to clean up and end; kill it if it does not."""
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self.send(Shutdown().encode())
            self._send_rest()
        self._ended_by_us = True
        self.kill_after(_SHUTDOWN_LIMIT)
        self._close_sockets()

    def _send_rest(self) -> None:
        outlet = _existing(self._outlet)
        outlet.settimeout(_SHUTDOWN_LIMIT)
        outlet.sendall(b"".join(self._outgoing))

    def _close_sockets(self) -> None:
        if self._ended_by_us and self._costs is not None:
            # Nothing that ran then is held against its size.
            forgive(self._costs, self.pid, self._started_at)
        self._outgoing.clear()
        for each in (self._connection, _existing(self._outlet)):
            each.close()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        return _existing(self._process)

    @property
    def _connection(self) -> socket.socket:
        return _existing(self._socket)


def _existing(part: Part | None) -> Part:
    if part is None:
        raise RuntimeError("the engine was not started")
    return part


def describe_exit(returncode: int) -> str:
    """Say how a process ended.

    Example:
        >>> describe_exit(-9)
        'killed by SIGKILL'
    """
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"
