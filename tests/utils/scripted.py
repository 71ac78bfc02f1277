"""A pool on a real event loop, with engines whose answers the test gives."""

import socket
from collections.abc import Iterator
from typing import Any

from celery.worker.request import Request
from kombu.asynchronous import Hub

from headrace.consumer.pool import BatchPool
from headrace.engine.messages import Cancel, Decoder, Loaded, Message, Outcomes, Ready, Window
from headrace.errors import HeadraceError
from tests.utils.requests import Desk


class ScriptedEngine:
    """Stands where a process would, at the far end of a real socket pair."""

    pid = 4242
    #: It takes all at once.
    unsent = False

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)  # noqa: FBT003 - the socket module's own
        self._decoder = Decoder()
        self._unanswered: list[tuple[str, int, object]] = []
        self.windows: list[Window] = []
        self.cancelled: list[int] = []
        self.killed = False

    @property
    def inputs(self) -> list[object]:
        """What it was sent, over all windows."""
        return [row[1] for window in self.windows for row in window.items]

    def answer(self, *, seconds: float = 0.5, error: HeadraceError | None = None) -> None:
        """Answer every item of each model in one batch: with its own input, or with an error."""
        wire = error.to_wire() if error else None
        for model in dict.fromkeys(model for model, _, _ in self._unanswered):
            rows = [
                (item_id, None if wire else value, wire) for name, item_id, value in self._unanswered if name == model
            ]
            self.say(Outcomes(model=model, seconds=seconds, outcomes=rows))
        self._unanswered.clear()

    def say(self, message: Message) -> None:
        """Put a message where the worker reads."""
        self._far.sendall(message.encode())

    def die(self) -> None:
        """Close the far end, as the kernel does for a dead process."""
        self._far.close()

    # -- what the worker calls

    def start(self) -> None:
        """Be ready at once."""
        self.say(Ready())

    def fileno(self) -> int:
        """The near end's descriptor."""
        return self._near.fileno()

    def outlet(self) -> int:
        """No descriptor that a loop watches."""
        return -1

    def send(self, data: bytes) -> None:
        """Note messages."""
        for message in Decoder().feed(data):
            if isinstance(message, Window):
                self.windows.append(message)
                self._unanswered += [(message.model, row[0], row[1]) for row in message.items]
            elif isinstance(message, Cancel):
                self.cancelled += message.item_ids

    def receive(self) -> Iterator[Message]:
        """Yield what was said."""
        try:
            data = self._near.recv(1 << 20)
        except BlockingIOError:
            return
        if not data:
            raise EOFError
        yield from self._decoder.feed(data)

    def kill(self) -> None:
        """Note it."""
        self.killed = True

    def reap(self) -> str:
        """Close both ends."""
        self.close()
        return "killed by the test"

    def close(self) -> None:
        """Close both ends."""
        self._near.close()
        self._far.close()


class PoolWorker:
    """A pool on a real event loop, with engines that the test plays."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.hub: Any = Hub()
        self.engines: list[ScriptedEngine] = []
        self.requests: list[Request] = []
        engine: Any = self._spawn
        self.pool = type("Pool", (BatchPool,), {"make_engine": lambda _: engine()})(app=desk.app)
        self.pool.register_with_event_loop(self.hub)
        self.pool.start()
        self.pool.supervisor.on_readable()

    def _spawn(self) -> ScriptedEngine:
        self.engines.append(ScriptedEngine())
        return self.engines[-1]

    @property
    def engine(self) -> ScriptedEngine:
        """The running engine."""
        return self.engines[-1]

    def take(self, *args: Any, **options: Any) -> Request:
        """Send a job, and claim it into the pool."""
        self.desk.send(*args, **options)
        return self.claim(options.get("model", "m"))

    def claim(self, model: str = "m") -> Request:
        """Claim what waits in Redis; the request is kept, as Celery keeps it until it is acknowledged."""
        request = self.desk.claim(self.pool, model)
        request.execute_using_pool(self.pool)
        self.pool.feed()
        self.requests.append(request)
        return request

    def answer(self, **how: Any) -> None:
        """Have the engine answer all that it has."""
        self.engine.answer(**how)
        self.pool.supervisor.on_readable()
        self.hub.run_once()

    def load(self, model: str) -> None:
        """Have the engine say that a model is on its device."""
        self.tell(
            Loaded(model=model, seconds=1.0, max_batch_size=None, max_batch_tokens=None, batch_time_limit=30.0),
        )

    def tell(self, message: Message) -> None:
        """Have the engine say something."""
        self.engine.say(message)
        self.pool.supervisor.on_readable()

    def look(self) -> None:
        """Have the pool look for a lost lease and for revokes now."""
        self.pool._look_at = 0.0
        self.pool._tick()

    def status(self, request: Request) -> str:
        """The stored state of a job."""
        return str(self.desk.meta(request.id)["status"])

    def close(self) -> None:
        """Close the engines' sockets and the loop."""
        for engine in self.engines:
            engine.close()
        self.hub.close()
