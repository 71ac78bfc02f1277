"""Claims: the messages that one worker has taken out of their queues and not settled.

They lie in Redis under the worker's *incarnation*, which lives as long as its lease. Where
the lease runs out, any other worker returns them to the heads of their queues.
"""

import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence

from headrace.broker.app import DEAD, WHY_DEAD
from headrace.broker.claim import Claim, LeaseLost
from headrace.broker.connection import Server
from headrace.broker.marks import ATTEMPTS, Marks
from headrace.broker.reaper import AGAIN_SECONDS
from headrace.broker.results import Committer, Settlement, Write
from headrace.broker.scripts import script
from headrace.broker.taker import BYTES_AT_ONCE, Holder, Taker


class Claims:
    """Scripts over one worker's claims. Every change is one call, so nothing lies between two places."""

    def __init__(self, client: Server, *, renewer: Server | None = None, name: str = "", lease_seconds: float) -> None:
        """Claim nothing yet.

        Args:
            client: For the worker's own thread.
            renewer: For renewals, which another thread sends and which must not wait for long; by default
                the same client.
            name: The worker's name, for the history of jobs that may kill it.
            lease_seconds: How long a lease lasts without a renewal.
        """
        self._client = client
        self._renewer = renewer or client
        self._name = name
        self._base = client.key("headrace:")
        self._lease_ms = round(lease_seconds * 1000)
        self._give_back = script(client, "give_back")
        self._begin = script(client, "begin")
        self._bury = script(client, "bury")
        self._delay = script(client, "delay")
        self._committer = Committer(client)
        self._taker = Taker(client)
        #: Bytes of each message that is claimed.
        self._held: dict[int, int] = {}
        self.held_bytes = 0
        self._released: set[int] = set()
        #: Names the queues for which there was room at last.
        self.wanting: Sequence[str] = ()
        #: Whether the lease was found to have run out; `begin` starts afresh.
        self.lost = False
        #: Name under which messages are claimed; a new one after each lost lease.
        self.incarnation = ""

    @property
    def count(self) -> int:
        """Messages that are claimed and not acknowledged."""
        return len(self._held) - len(self._released)

    @property
    def answered(self) -> int:
        """Counts the claims that Redis has answered."""
        return self._taker.answered

    @property
    def cut(self) -> bool:
        """Whether the last claim took less than there was, for its bytes."""
        return self._taker.cut

    @property
    def marks(self) -> Marks:
        """What Redis knows of the jobs besides."""
        return self._taker.marks

    def begin(self) -> None:
        """Take a new incarnation, with a lease of its own."""
        if self.incarnation:
            # This worker lives: what its engine had has lost no attempt.
            self._client.delete(self._key("begun"))
        incarnation = uuid.uuid4().hex
        # Its value is the number from which on may be claimed under it (`void.lua`).
        self._client.set(f"{self._base}lease:{incarnation}", 1, px=self._lease_ms)
        # Hazard: in this order, since the other thread looks for the lease of whatever it finds here.
        self.incarnation = incarnation
        self.lost = False
        self._drop(list(self._held))
        self._taker.uncertain = False

    def renew(self) -> bool:
        """Prolong the lease; return whether it was still there."""
        incarnation = self.incarnation
        # Not SET: a Redis whose memory is full refuses that.
        renewed = bool(self._renewer.pexpire(f"{self._base}lease:{incarnation}", self._lease_ms))
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
        if self._taker.uncertain:
            self._return_unheard()
        try:
            claims = self._taker.take(self._holder, wanted)
        except LeaseLost:
            self.lost = True
            raise
        self._held.update((claim.number, len(claim.payload)) for claim in claims)
        self.held_bytes += sum(len(claim.payload) for claim in claims)
        return claims

    def _return_unheard(self) -> None:
        """Give back what was claimed by a call whose answer was lost; one that comes after this takes nothing."""
        self.give_back(self._taker.void(self._holder) - self._held.keys())
        self._taker.uncertain = False

    @property
    def _holder(self) -> Holder:
        return Holder(
            incarnation=self.incarnation, worker=self._name, lease=self._key("lease"), claims=self._key("claims")
        )

    def begun(self, jobs: Mapping[str, str]) -> None:
        """Note that an engine gets jobs: if this worker dies, they have lost an attempt.

        Args:
            jobs: Ids of jobs by the delivery tag of their message.
        """
        pairs = [(self.number_of(tag), job_id) for tag, job_id in jobs.items()]
        if pairs:
            self._begin(keys=[self._key("lease"), self._key("begun")], args=list(itertools.chain(*pairs)))

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
        if not tags:
            return []
        # Not HMGET, which answers with the messages.
        with self._client.pipeline(transaction=False) as pipe:
            for tag in tags:
                pipe.hexists(self._key("claims"), str(self.number_of(tag)))
            return [bool(found) for found in pipe.execute()]

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
        keys = [self._key("claims"), self._key("begun"), self._client.key(ATTEMPTS)]
        answers = self._committer.commit(group, expires=expires, keys=keys)
        numbers = [self.number_of(tag) for tag, _, _ in settlements]
        self._drop(number for number, answer in zip(numbers, answers, strict=True) if answer in {"done", "gone"})
        return answers

    def flush(self) -> None:
        """Write the acknowledgements; they are kept if Redis is away."""
        if self._released:
            self.forget(set(self._released))

    def bury(self, claim: Claim, *, model: str, why: str, job_id: str = "") -> None:
        """Put a message aside among a model's dead letters, unless another worker has it; `why` may have surrogates."""
        if number := self.number_of(claim.tag):
            shared = map(self._client.key, (DEAD + model, ATTEMPTS, WHY_DEAD + model))
            keys = [self._key("claims"), self._key("begun"), *shared]
            self._bury(keys=keys, args=[number, claim.payload, job_id, why.encode(errors="backslashreplace")])
            self._drop([number])

    def delay(self, tag: str, until: float) -> None:
        """Put a message aside until its time, in epoch seconds; then any worker's reaper returns it to its queue."""
        if number := self.number_of(tag):
            keys = [self._key("claims"), self._key("begun"), f"{self._base}delayed"]
            self._delay(keys=keys, args=[number, until])
            self._drop([number])

    def forget(self, numbers: Iterable[int]) -> None:
        """Acknowledge messages that need no result."""
        numbers = list(numbers)
        if gone := list(map(str, numbers)):
            with self._client.pipeline(transaction=True) as pipe:
                pipe.hdel(self._key("claims"), *gone)
                pipe.hdel(self._key("begun"), *gone)
                pipe.execute()
            self._drop(numbers)

    def give_back(self, numbers: Iterable[int]) -> int:
        """Return messages to the heads of their queues, in the order of their claims; return how many."""
        latest_first: Sequence[int] = sorted(numbers, reverse=True)
        keys = [self._key("claims"), self._key("begun"), f"{self._base}delayed"]
        returned = 0
        while latest_first:
            count, done = self._give_back(keys=keys, args=[BYTES_AT_ONCE, AGAIN_SECONDS, *latest_first])
            returned += count
            self._drop(latest_first[:done])
            latest_first = latest_first[done:]
        return returned

    def keep_only(self, tags: Iterable[str]) -> int:
        """Give back every claim but these; return how many."""
        self.flush()
        return self.give_back(self._held.keys() - {self.number_of(tag) for tag in tags})

    def end(self) -> None:
        """Drop the lease; what is still claimed may be reaped at once."""
        self._client.delete(self._key("lease"))

    def _drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.held_bytes -= self._held.pop(number, 0)
            self._released.discard(number)

    def _key(self, kind: str) -> str:
        return f"{self._base}{kind}:{self.incarnation}"
