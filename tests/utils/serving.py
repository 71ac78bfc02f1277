"""A real EngineServer on a thread, with the worker's end of its socket in the test's hands."""

import socket
import threading
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from headrace.engine.messages import Decoder, Message, Shutdown
from headrace.engine.placing import Placing
from headrace.engine.server import EngineServer
from headrace.hardware.virtual import VirtualMemory, VirtualMeter
from headrace.memory.store import CostStore
from headrace.plugins.manager import PluginManager
from headrace.sdk.device import Device
from tests.utils.waiting import wait_until


class ServedEngine:
    """Speaks to an engine as a worker does."""

    def __init__(self, manager: PluginManager) -> None:
        self._near, far = socket.socketpair()
        self._near.settimeout(10)
        self._decoder = Decoder()
        self._said: deque[Message] = deque()
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        meter = VirtualMeter(VirtualMemory(2**40), Device("cpu"), 1.0)
        self._server = EngineServer(far, manager, meter, CostStore(folder / "costs"), Placing(folder / "offload"))
        self._thread = threading.Thread(target=self._server.serve, name="engine", daemon=True)

    def send(self, *messages: Message) -> None:
        """Send messages in one piece."""
        self._near.sendall(b"".join(message.encode() for message in messages))

    def hear(self, last: type[Message], times: int = 1) -> list[Message]:
        """What it says, up to the given number of messages of one kind."""
        heard: list[Message] = []
        while times:
            heard.append(self._next())
            times -= isinstance(heard[-1], last)
        return heard

    def heard_so_far(self) -> list[Message]:
        """What it has said that was not heard yet."""
        self._said.extend(self._decoder.feed(self._near.recv(1 << 20)))
        said = list(self._said)
        self._said.clear()
        return said

    def _next(self) -> Message:
        while not self._said:
            self._said.extend(self._decoder.feed(self._near.recv(1 << 20)))
        return self._said.popleft()

    def tell_to_end(self) -> None:
        """Send Shutdown, and wait until it was received."""
        self.send(Shutdown())
        wait_until(lambda: self._server._inbox.closed)

    def end(self) -> None:
        """Have it end in order."""
        self.send(Shutdown())
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether its main thread runs."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        """Start it."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, unless the test has; its receiver stays."""
        if self._thread.is_alive():
            self.end()
        self._folder.cleanup()
        # A closed socket would make the engine's receiver end this whole process.
        self._near.detach()
