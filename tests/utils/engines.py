"""Engines without a process: they note what they are sent and say what the test has them say."""

from collections.abc import Iterator

from headrace.engine.messages import Decoder, Message, Ready, Window
from headrace.engine.process import EngineProcess


class StandInEngine(EngineProcess):
    """Stands where an engine's process does."""

    def __init__(self, number: int) -> None:
        super().__init__("cpu:0", {})
        self.number = number
        #: What it was sent, in order.
        self.sent: list[Message] = []
        #: What it says when it is listened to next.
        self.says: list[Message] = []
        #: Whether its socket is closed once it has said all.
        self.dead = False
        #: Whether a send finds it gone.
        self.deaf = False
        #: Bytes that it takes of what each send has for it.
        self.takes = 1 << 30
        self._reader = Decoder()
        self._left = b""
        self.calls: list[str] = []

    @property
    def pid(self) -> int:
        """A number that no process has."""
        return -self.number

    def start(self) -> None:
        """Nothing to start."""

    def send(self, data: bytes) -> None:
        """Note what it takes."""
        if self.deaf:
            raise BrokenPipeError
        data = self._left + data
        self.sent += self._reader.feed(data[: self.takes])
        self._left = data[self.takes :]

    @property
    def unsent(self) -> bool:
        """Whether it has not taken all."""
        return bool(self._left)

    def receive(self) -> Iterator[Message]:
        """Say what there is to say."""
        while self.says:
            yield self.says.pop(0)
        if self.dead:
            raise EOFError

    def kill(self) -> None:
        """Note it."""
        self.calls.append("kill")

    def reap(self) -> str:
        """An exit in words."""
        self.calls.append("reap")
        return "exit status 3"

    def close(self) -> None:
        """Note it."""
        self.calls.append("close")

    @property
    def windows(self) -> list[list[int]]:
        """Item ids of each window that it was sent."""
        return [[item[0] for item in message.items] for message in self.sent if isinstance(message, Window)]


class Engines:
    """Spawns stand-ins and keeps them all."""

    def __init__(self) -> None:
        self.spawned: list[StandInEngine] = []
        #: Spawns that are to fail.
        self.refusals = 0

    def __call__(self) -> StandInEngine:
        """Spawn one.

        Raises:
            OSError: If it is to fail.
        """
        if self.refusals:
            self.refusals -= 1
            raise OSError("no memory for another process")
        self.spawned.append(StandInEngine(len(self.spawned) + 1))
        return self.last

    @property
    def last(self) -> StandInEngine:
        """The latest one."""
        return self.spawned[-1]

    def ready(self) -> Ready:
        """What the latest one says first."""
        return Ready()
