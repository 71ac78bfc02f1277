"""Claims: the messages that one worker has taken out of their queues and not settled.

They lie in Redis under the worker's *incarnation*, which lives as long as its lease. Where
the lease runs out, any other worker returns them to the heads of their queues.
"""

import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import redis

from headrace.broker.results import Committer, Settlement, Write
from headrace.broker.revocations import REVISION, revoked_ids

#: Of a list: as many messages as the lists before it have left.
LEFT = -1
#: Jobs that one call of the reaper returns: the server answers nobody else meanwhile.
_REAPED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Claim:
    """One message, and its number among those of its incarnation."""

    incarnation: str
    number: int
    #: The list that it came from, without a prefix.
    queue: str
    #: The message as the producer's transport wrote it.
    payload: bytes

    @property
    def tag(self) -> str:
        """A delivery tag unlike any that another worker or incarnation gives."""
        return f"{self.incarnation}:{self.number}"


class LeaseLost(Exception):
    """The lease has run out: what was claimed under it may be running elsewhere."""


class Claims:
    """Scripts over one worker's claims. Every change is one call, so nothing lies between two places."""

    def __init__(self, client: redis.Redis, *, name: str = "", prefix: str = "", lease_seconds: float) -> None:
        self._client = client
        #: The worker's name, for the history of jobs that it may kill it.
        self._name = name
        self._prefix = prefix
        self._base = f"{prefix}headrace:"
        self._lease_seconds = lease_seconds
        self._claim = client.register_script(_source("claim"))
        self._give_back = client.register_script(_source("give_back"))
        self._begin = client.register_script(_source("begin"))
        self._bury = client.register_script(_source("bury"))
        self._reap = client.register_script(_source("reap"))
        self._committer = Committer(client)
        self._numbers = itertools.count(1)
        self._held: set[int] = set()
        self._released: set[int] = set()
        #: Whether a claim was sent and not answered.
        self._uncertain = False
        #: Counts what was revoked, as far as the last claim told.
        self.revision = 0
        self._learned = 0
        #: Whether any job has lost attempts, as far as the last claim told.
        self.losses = False
        #: Whether the lease was found to have run out; `begin` starts afresh.
        self.lost = False
        #: Name under which messages are claimed; a new one after each lost lease.
        self.incarnation = ""

    @property
    def count(self) -> int:
        """Messages that are claimed and not acknowledged."""
        return len(self._held) - len(self._released)

    def begin(self) -> None:
        """Take a new incarnation, with a lease of its own."""
        self.incarnation = uuid.uuid4().hex
        self._held.clear()
        self._released.clear()
        self._uncertain = False
        self._client.set(self._key("lease"), 1, px=self._lease_ms, nx=True)
        self.lost = False

    def renew(self) -> bool:
        """Prolong the lease; return whether it was still there."""
        incarnation = self.incarnation
        # Not SET: a Redis whose memory is full refuses that.
        renewed = bool(self._client.pexpire(self._key("lease"), self._lease_ms))
        if not renewed and incarnation == self.incarnation:
            self.lost = True
        return renewed

    def claim(self, wanted: Mapping[str, int]) -> list[Claim]:
        """Take messages out of lists.

        Args:
            wanted: How many messages at most of each list, most urgent list first; `LEFT` for
                as many as the lists before it have left.

        Raises:
            LeaseLost: If the lease has run out; nothing was taken then.
        """
        if self._uncertain:
            self._return_unheard()
        queues = list(wanted)
        first = next(self._numbers)
        # Until the answer is here: the server may have claimed all, and numbers must not come again.
        self._numbers = itertools.count(first + sum(count for count in wanted.values() if count > 0) + 1)
        self._uncertain = True
        shared = [f"{self._base}incarnation", f"{self._base}attempts", self._prefix + REVISION]
        keys = [self._key("lease"), self._key("claims"), *shared]
        try:
            *taken, lost, self.revision = self._claim(
                keys=[*keys, *(self._prefix + queue for queue in queues)],
                args=[self.incarnation, self._name, first, *wanted.values()],
            )
        except redis.ResponseError as error:
            if str(error).startswith("LEASE_LOST"):
                self.lost = True
                self._uncertain = False
                raise LeaseLost from None
            raise
        self._uncertain = False
        self.losses = lost > 0
        messages = [(queue, payload) for queue, payloads in zip(queues, taken, strict=True) for payload in payloads]
        claims = [
            Claim(self.incarnation, first + offset, queue, payload) for offset, (queue, payload) in enumerate(messages)
        ]
        self._held.update(claim.number for claim in claims)
        return claims

    def _return_unheard(self) -> None:
        """Give back what was claimed by a call whose answer was lost."""
        stored: Any = self._client.hkeys(self._key("claims"))
        self.give_back({int(number) for number in stored} - self._held)
        self._uncertain = False

    def begun(self, jobs: Mapping[str, str]) -> None:
        """Note that an engine gets jobs: if this worker dies, they have lost an attempt.

        Args:
            jobs: Ids of jobs by the delivery tag of their message.
        """
        pairs = [(self.number_of(tag), job_id) for tag, job_id in jobs.items()]
        if pairs:
            self._begin(keys=[self._key("lease"), self._key("begun")], args=list(itertools.chain(*pairs)))

    def lost_attempts(self, job_id: str) -> list[str]:
        """A line `<worker> <epoch seconds>` for each worker that died while it ran the job."""
        found: Any = self._client.hget(f"{self._base}attempts", job_id) if self.losses else None
        return found.decode().split("\n") if found else []

    def newly_revoked(self) -> list[str]:
        """Ids of all jobs that are revoked, if there are more than at the last call."""
        if self.revision == self._learned:
            return []
        ids = revoked_ids(self._client)
        self._learned = self.revision
        return ids

    def number_of(self, tag: str) -> int:
        """The number of a tag's claim; 0, which is nobody's, if its incarnation is over."""
        incarnation, _, number = tag.rpartition(":")
        return int(number) if incarnation == self.incarnation else 0

    def release(self, tag: str) -> None:
        """Acknowledge a message, with the next `flush`."""
        if (number := self.number_of(tag)) in self._held:
            self._released.add(number)

    def held(self, tags: Sequence[str]) -> list[bool]:
        """Whether each message is this worker's still, or was taken over by others."""
        numbers = [str(self.number_of(tag)) for tag in tags]
        if not numbers:
            return []
        stored: Any = self._client.hmget(self._key("claims"), numbers)
        return [value is not None for value in stored]

    def commit(self, settlements: Sequence[tuple[str, Sequence[Write], str]], *, expires: int | None) -> list[str]:
        """Store results and drop their claims, in one call.

        Args:
            settlements: Delivery tags, each with what is to be stored, and the job's id if it has lost
                attempts, else "".
            expires: Seconds that the results are kept; None for ever.

        Returns:
            For each message "done", "gone" if another worker has it, or why Redis refuses its result.
        """
        group = [Settlement(number=self.number_of(tag), writes=writes, lost=lost) for tag, writes, lost in settlements]
        keys = [self._key("claims"), self._key("begun"), f"{self._base}attempts"]
        answers = self._committer.commit(group, expires=expires, keys=keys)
        numbers = [each.number for each in group]
        over = {number for number, answer in zip(numbers, answers, strict=True) if answer in {"done", "gone"}}
        self._held -= over
        self._released -= over
        return answers

    def flush(self) -> None:
        """Write the acknowledgements; they are kept if Redis is away."""
        if self._released:
            released = set(self._released)
            self.forget(released)
            self._released -= released

    def bury(self, claim: Claim, *, into: str, job_id: str = "") -> None:
        """Put a message aside in a list of dead letters, unless another worker has it."""
        if number := self.number_of(claim.tag):
            keys = [self._key("claims"), self._key("begun"), self._prefix + into, f"{self._base}attempts"]
            self._bury(keys=keys, args=[number, claim.payload, job_id])
            self._held.discard(number)

    def forget(self, numbers: Iterable[int]) -> None:
        """Acknowledge messages that need no result."""
        numbers = list(numbers)
        if gone := list(map(str, numbers)):
            with self._client.pipeline(transaction=True) as pipe:
                pipe.hdel(self._key("claims"), *gone)
                pipe.hdel(self._key("begun"), *gone)
                pipe.execute()
            self._held.difference_update(numbers)

    def give_back(self, numbers: Iterable[int]) -> int:
        """Return messages to the heads of their queues, in the order of their claims; return how many."""
        latest_first: Sequence[int] = sorted(numbers, reverse=True)
        if not latest_first:
            return 0
        returned = int(self._give_back(keys=[self._key("claims"), self._key("begun")], args=latest_first))
        self._held.difference_update(latest_first)
        return returned

    def keep_only(self, tags: Iterable[str]) -> int:
        """Give back every claim but these; return how many."""
        self.flush()
        return self.give_back(self._held - {self.number_of(tag) for tag in tags})

    def reap(self) -> int:
        """Return some jobs of workers whose lease has run out; return how many."""
        keys = [f"{self._base}incarnation", f"{self._base}attempts"]
        return int(self._reap(keys=keys, args=[self._base, self._lease_seconds, _REAPED_AT_ONCE]))

    def end(self) -> None:
        """Drop the lease; what is still claimed may be reaped at once."""
        self._client.delete(self._key("lease"))

    @property
    def _lease_ms(self) -> int:
        return round(self._lease_seconds * 1000)

    def _key(self, kind: str) -> str:
        return f"{self._base}{kind}:{self.incarnation}"


def _source(name: str) -> str:
    return files("headrace.broker").joinpath("scripts", f"{name}.lua").read_text()
