"""Outbox: outcomes that are to be committed, a group in one call, and what becomes of one that Redis never takes."""

import logging
from collections.abc import Sequence

import redis

from headrace.broker.claims import Claims
from headrace.consumer.trace import Settled
from headrace.errors import ResultTooLarge

logger = logging.getLogger(__name__)

#: Bytes of results in one call: the server answers nobody else meanwhile.
_MOST_BYTES = 8 * 1024 * 1024
#: Times in a row that one commit may lose its connection, though Redis answers on another.
LOSSES = 3


class Outbox:
    """Commits outcomes in their order; keeps what Redis does not take."""

    def __init__(self, claims: Claims, *, expires: int | None) -> None:
        self._claims = claims
        self._expires = expires
        self._waiting: list[Settled] = []
        #: Tags of what was sent and not answered: what is gone then may have been committed.
        self._unsure: set[str] = set()
        self._losses = 0
        #: How many of the first ones go one by one, since one of them may be what loses the connection.
        self._singly = 0

    @property
    def tags(self) -> list[str]:
        """Delivery tags of what is not committed."""
        return [each.tag for each in self._waiting]

    def add(self, settled: Settled) -> None:
        """Take an outcome in."""
        self._waiting.append(settled)

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._unsure.clear()
        self._losses = self._singly = 0

    def commit(self) -> object:
        """Commit what is here; return why not all was taken, None if it was."""
        while self._waiting:
            group = self._waiting[:1] if self._singly else _group(self._waiting)
            try:
                answers = self._claims.commit(
                    [(each.tag, each.writes, each.lost) for each in group], expires=self._expires
                )
                # Gone since the last try, under a lease that never ran out: it was committed.
                mine = bool(self._unsure) and self._claims.renew()
            except redis.RedisError as error:
                self._unsure.update(each.tag for each in group)
                self._note_loss(group, error)
                return error
            self._losses, self._singly = 0, max(0, self._singly - 1)
            if refusals := self._close(group, answers, mine=mine):
                return refusals[0]
        return None

    def _close(self, group: Sequence[Settled], answers: Sequence[str], *, mine: bool) -> Sequence[str]:
        """End what was answered; return what Redis said to what it refuses, which is kept."""
        pairs = list(zip(group, answers, strict=True))
        refused = [(each, answer) for each, answer in pairs if answer not in {"done", "gone"}]
        self._waiting[: len(group)] = [each for each, _ in refused]
        for each, answer in pairs:
            _finish(
                each, answer, committed=answer == "done" or (mine and answer == "gone" and each.tag in self._unsure)
            )
        self._unsure -= {each.tag for each in group}
        return [answer for _, answer in refused]

    # -- what Redis never takes

    def _note_loss(self, group: Sequence[Settled], error: redis.RedisError) -> None:
        """Find out which outcome it is that Redis does not take, and put a failure in its place."""
        if not self.is_refusal(error):
            return
        self._losses += 1
        if self._losses < LOSSES:
            return
        self._losses = 0
        if len(group) > 1:
            self._singly = len(group)
        elif group[0].refuse:
            told = f"Redis does not take a result of {group[0].size} bytes ({error})"
            logger.error("%s: its job fails", told)
            self._waiting[0] = group[0].refuse(
                ResultTooLarge(f"{told}: raise its proto-max-bulk-len, or split the job")
            )

    def is_refusal(self, error: BaseException) -> bool:
        """Whether it was this connection that Redis closed, and no other."""
        # It says why before it closes it, which not every client gets to read.
        if not isinstance(error, redis.ConnectionError) and "Protocol error" not in str(error):
            return False
        try:
            return self._claims.renew()
        except redis.RedisError:
            return False


def too_large(what: str, error: BaseException) -> ResultTooLarge:
    """Why a job fails that costs the connection each time."""
    told = f"Redis closes the connection upon {what} ({error})"
    return ResultTooLarge(f"{told}: raise its proto-max-bulk-len, or split the job")


def _finish(settled: Settled, answer: str, *, committed: bool) -> None:
    if committed:
        try:
            settled.tell()
        except Exception:
            logger.exception("a job that is settled could not be told of")
    elif answer == "gone":
        settled.gone()
    if answer in {"done", "gone"}:
        settled.over()


def _group(settled: Sequence[Settled]) -> Sequence[Settled]:
    """As many as one call may carry, at least one."""
    size = 0
    for count, each in enumerate(settled):
        size += each.size
        if count and size > _MOST_BYTES:
            return settled[:count]
    return list(settled)
