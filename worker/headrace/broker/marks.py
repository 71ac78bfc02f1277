"""Marks: what Redis knows of a job besides its message: who died while it ran, and whether it was revoked."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from headrace.broker.connection import Server
from headrace.broker.revocations import REVISION, REVOKED

#: Lines `<worker> <epoch seconds>`, one for each worker that died while a job ran, by the job's id.
ATTEMPTS = "headrace:attempts"


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """The marks of a group of jobs."""

    #: The lines of those that have lost attempts.
    lost: Mapping[str, Sequence[str]] = field(default_factory=dict)
    revoked: AbstractSet[str] = frozenset()


class Marks:
    """Looks marks up for a group of jobs in one round trip, and not at all where there are none."""

    def __init__(self, client: Server) -> None:
        self._client = client
        #: Jobs that have lost attempts and that are revoked, as far as the last claim told.
        self.lost = self.revoked = 0
        self._revision = b""

    def of(self, job_ids: Sequence[str]) -> Known:
        """The marks of these jobs."""
        if not job_ids or not (self.lost or self.revoked):
            return Known()
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hmget(self._client.key(ATTEMPTS), list(job_ids))
            pipe.zmscore(self._client.key(REVOKED), list(job_ids))
            lines, scores = pipe.execute()
        lost = {job_id: told.decode().split("\n") for job_id, told in zip(job_ids, lines, strict=True) if told}
        return Known(lost=lost, revoked=_revoked(job_ids, scores))

    def newly_revoked(self, job_ids: Sequence[str]) -> AbstractSet[str]:
        """Which of these jobs are revoked, if anything was since the last call."""
        revision: Any = self._client.get(self._client.key(REVISION))
        if revision == self._revision or not job_ids:
            return frozenset()
        scores: Any = self._client.zmscore(self._client.key(REVOKED), list(job_ids))
        self._revision = revision
        return _revoked(job_ids, scores)


def _revoked(job_ids: Sequence[str], scores: Sequence[float | None]) -> AbstractSet[str]:
    return {job_id for job_id, score in zip(job_ids, scores, strict=True) if score is not None}
