"""Taker: sends the calls that take messages out of their lists, and knows which of them were not answered."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from headrace.broker.claim import Claim, LeaseLost
from headrace.broker.connection import Server
from headrace.broker.marks import ATTEMPTS, Marks
from headrace.broker.revocations import REVOKED
from headrace.broker.scripts import script

logger = logging.getLogger(__name__)

#: Bytes of the messages that one call takes or returns: the server answers nobody else meanwhile.
BYTES_AT_ONCE = 8 * 1024 * 1024
#: Of a list: as many messages as the lists before it have left.
LEFT = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """The incarnation that claims."""

    incarnation: str
    #: The worker's name.
    worker: str
    #: The keys of the lease and of the claims under it.
    lease: str
    claims: str


class Taker:
    """Takes messages; each has a number that none had before it."""

    def __init__(self, client: Server) -> None:
        self._client = client
        self._take = script(client, "claim")
        self._void = script(client, "void")
        self._next = 1
        #: Whether a call was sent and not answered: Redis may execute it at any time.
        self.uncertain = False
        #: Whether the last call took less than there was, for its bytes.
        self.cut = False
        #: Counts the calls that Redis has answered.
        self.answered = 0
        #: What Redis knows of the jobs besides.
        self.marks = Marks(client)

    def take(self, holder: Holder, wanted: Mapping[str, int]) -> list[Claim]:
        """Take messages out of lists; see `Claims.claim`.

        Raises:
            LeaseLost: If the lease has run out; nothing was taken then.
        """
        first = self._next
        # Until the answer is here: the server may have claimed all, and numbers must not come again.
        self._next += sum(count for count in wanted.values() if count > 0) + 1
        self.uncertain = True
        payloads = self._call(holder, first, wanted)
        self.uncertain = False
        messages = [(queue, payload) for queue, taken in zip(wanted, payloads, strict=True) for payload in taken]
        return [Claim(holder.incarnation, number, *message) for number, message in enumerate(messages, first)]

    def _call(self, holder: Holder, first: int, wanted: Mapping[str, int]) -> list[list[bytes]]:
        shared = [self._client.key("headrace:incarnation"), self._client.key(ATTEMPTS), self._client.key(REVOKED)]
        keys = [holder.lease, holder.claims, *shared, *map(self._client.key, wanted)]
        arguments: list[str | int] = [holder.incarnation, holder.worker, first, BYTES_AT_ONCE, *wanted.values()]
        *taken, self.marks.lost, self.marks.revoked, cut, unreadable = self._counted(self._take, keys, arguments)
        self.cut = bool(cut)
        if unreadable:
            logger.error("cannot be read, since they are no lists: %s", b", ".join(unreadable).decode())
        return list(taken)

    def void(self, holder: Holder) -> set[int]:
        """Have calls that were not answered take nothing any more; return the numbers of all that is claimed."""
        numbers = self._counted(self._void, [holder.lease, holder.claims], [self._next])
        return {int(number) for number in numbers}

    def _counted(self, call: Any, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        try:
            answer = call(keys=keys, args=arguments)
        except redis.ResponseError as error:
            self.answered += 1
            if str(error).startswith("LEASE_LOST"):
                self.uncertain = False
                raise LeaseLost from None
            raise
        self.answered += 1
        return answer
