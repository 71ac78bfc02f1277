"""LeasedTransport: kombu's Redis transport, except that a worker claims under a lease.

Lists, exchanges and fan-out are kombu's own, so that stock producers, Flower's broker page and
whoever counts with LLEN go on working. Only what a worker consumes goes another way: it looks
at a list without popping, and takes many messages with one script (`broker/claims.py`).
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty
from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as stock
from kombu.transport.virtual import QoS

from headrace.broker.claim import LeaseLost
from headrace.broker.claims import Claims
from headrace.broker.incoming import Incoming, Message
from headrace.broker.options import SUFFIXES
from headrace.broker.taker import LEFT

logger = logging.getLogger(__name__)

#: Suffixes of a model's lists that are waited for. Plain producers write to the middle one.
_AWAITED = tuple(SUFFIXES.values())
#: All of them, most urgent first; kombu makes those between for a plain producer's `priority`.
_SUFFIXES = (".high", "", *(f"{stock.Channel.sep}{step}" for step in stock.PRIORITY_STEPS if step), ".low")
#: Seconds that a look at an empty list blocks on the server.
_PEEK_SECONDS = 5
#: Seconds between two claims from lists of which nothing was heard; also before Redis is asked
#: again for what it refused.
_SWEEP_SECONDS = 1.0


class LeasedQoS(QoS):  # type: ignore[misc]  # kombu has no types
    """Acknowledges claims; restores nothing, since what a lost connection had may still run here."""

    def ack(self, delivery_tag: str) -> None:
        """The message is settled."""
        self.channel.claims.release(delivery_tag)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """The message goes back, or is dropped."""
        if requeue:
            self.channel.claims.give_back([self.channel.claims.number_of(delivery_tag)])
        else:
            self.channel.claims.release(delivery_tag)
        super().ack(delivery_tag)

    def forget(self, delivery_tag: str) -> None:
        """The message was put aside or is another worker's: nobody here will acknowledge it."""
        self._delivered.pop(delivery_tag, None)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Leave the claims alone: the worker gives them back when it ends, a reaper when it dies."""


class LeasedChannel(stock.Channel):  # type: ignore[misc]  # kombu has no types
    """A channel whose consumers are fed from claims."""

    QoS = LeasedQoS
    #: One for each list that is waited for; kombu's own limit of 10 is enough for three models.
    max_connections = 65_536

    #: What this worker has claimed.
    claims: Claims
    #: How many messages of a queue the worker can take now.
    room: Callable[[str], int]
    #: Called when all messages of a claim are with their consumers.
    delivered: Callable[[], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Queues that may hold something; the others are waited for.
        self._hopeful: set[str] = set()
        self._incoming = Incoming(lambda tag: self.qos.forget(tag))  # noqa: PLW0108 - made on first use
        self._swept_at = 0.0
        self._peeks: dict[str, Any] = {}

    def consume_claims(self, poller: "LeasedPoller") -> None:
        """Claim and deliver what there is room for; wait for queues that are empty."""
        try:
            self._consume(poller)
        except redis.ResponseError as error:
            # Full, read-only, without replicas: nothing is lost, and the next sweep tries again.
            logger.warning("Redis refuses now: %s", error)
            self._hopeful.clear()
            self._swept_at = time.monotonic()

    def _consume(self, poller: "LeasedPoller") -> None:
        self.claims.flush()
        if time.monotonic() - self._swept_at >= _SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            self._hopeful.update(self.active_queues)
            self._deliver_all()
        queues = self._queue_cycle.consume(len(self.active_queues))
        room = {queue: count for queue in queues if (count := self.room(queue)) > 0}
        self.claims.wanting = tuple(room)
        if hopeful := {queue: count for queue, count in room.items() if queue in self._hopeful}:
            self._claim(hopeful)
        for queue in room.keys() - self._hopeful:
            for suffix in _AWAITED:
                self._peek(poller, queue, queue + suffix)

    def _claim(self, room: Mapping[str, int]) -> None:
        wanted = {
            name: LEFT if position else count
            for queue, count in room.items()
            for position, name in enumerate(_lists(queue))
        }
        try:
            claims = self.claims.claim(wanted)
        except LeaseLost:
            return
        for queue, count in room.items():
            taken = [claim for claim in claims if claim.queue in _lists(queue)]
            if len(taken) < count and not self.claims.cut:
                self._hopeful.discard(queue)
            else:
                self._queue_cycle.rotate(queue)
            self._incoming.add(queue, taken)
        self._deliver_all()

    def _deliver_all(self) -> None:
        # kombu's own way to a consumer, as its channels take it.
        self._incoming.deliver(self.claims, self.connection._deliver)  # noqa: SLF001
        self.delivered()

    def _get(self, queue: str, timeout: float | None = None) -> Message:
        """Claim one message, for `basic_get`."""
        claims = self.claims.claim({name: LEFT if position else 1 for position, name in enumerate(_lists(queue))})
        got: list[Message] = []
        self._incoming.add(queue, claims)
        self._incoming.deliver(self.claims, lambda message, _: got.append(message))
        if not got:
            raise Empty
        return got[0]

    def _peek(self, poller: "LeasedPoller", queue: str, name: str) -> None:
        """Wait for a list without popping: moving its last message to where it is changes nothing."""
        if name not in self._peeks:
            self._peeks[name] = self._create_client(asynchronous=True)
            self._peeks[name].not_before = 0.0
            self.handlers[f"PEEK {name}"] = partial(self._on_peek, queue, self._peeks[name])
        poller.start_peek(self, self._peeks[name], f"PEEK {name}", self.global_keyprefix + name)

    def _on_peek(self, queue: str, client: Any) -> None:
        client.peeking = False
        try:
            found = client.parse_response(client.connection, "BLMOVE")
        except redis.ResponseError as error:
            # Its memory is full, say.
            client.not_before = time.monotonic() + _SWEEP_SECONDS
            logger.debug("a list cannot be waited for: %s", error)
            return
        except self.connection_errors:
            client.connection.disconnect()
            raise
        if found is not None:
            self._hopeful.add(queue)


def _lists(queue: str) -> Sequence[str]:
    """The lists of a queue, most urgent first."""
    return [queue + suffix for suffix in _SUFFIXES]


class LeasedPoller(stock.MultiChannelPoller):  # type: ignore[misc]  # kombu has no types
    """Has each channel claim before the event loop sleeps."""

    def on_poll_start(self) -> None:
        """Claim, and wait for what is empty."""
        for channel in list(self._channels):
            channel.claims.wanting = ()
        for channel in list(self._channels):
            if channel.active_queues:
                channel.consume_claims(self)
            if channel.active_fanout_queues:
                self._register_LISTEN(channel)

    def on_readable(self, fileno: int) -> None:
        """A list has got something, or a broadcast has come."""
        if found := self._fd_to_chan.get(fileno):
            channel, kind = found
            channel.handlers[kind]()

    def start_peek(self, channel: LeasedChannel, client: Any, kind: str, key: str) -> None:
        """Send a look at a list, unless one is under way."""
        if not self._client_registered(channel, client, kind):
            client.peeking = False
            self._register(channel, client, kind)
        if not client.peeking and time.monotonic() >= client.not_before:
            client.peeking = True
            client.connection.send_command("BLMOVE", key, key, "RIGHT", "RIGHT", _PEEK_SECONDS)


class LeasedTransport(stock.Transport):  # type: ignore[misc]  # kombu has no types
    """kombu's Redis transport with our channels; for a worker's own connections."""

    Channel = LeasedChannel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = LeasedPoller()


def leased_transport(
    claims: Claims, room: Callable[[str], int], delivered: Callable[[], None] = lambda: None
) -> type[LeasedTransport]:
    """Make the transport of one worker.

    kombu gives a transport no arguments that `celery inspect` would not show, so what it needs
    is in the class.
    """
    channel = type(
        "Channel",
        (LeasedChannel,),
        {"claims": claims, "room": staticmethod(room), "delivered": staticmethod(delivered)},
    )
    return type("Transport", (LeasedTransport,), {"Channel": channel})


def use_in_this_process(transport: type[LeasedTransport]) -> None:
    """Have kombu take it for Redis URLs; once, before any connection is made."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), lambda: transport))
