"""JobRequest: Celery's request, except that a revoke is settled behind the fence like any outcome."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from celery import signals
from celery.worker import state
from celery.worker.request import Request

from headrace.broker.results import LOST_HEADER


class JobRequest(Request):  # type: ignore[misc]  # Celery has no types
    """What Celery makes of the message of an infer task."""

    #: How far it is, in tokens say; for `celery inspect active`.
    progress: Callable[[], int] = staticmethod(lambda: 0)
    #: Celery's own name for whether a revoke was announced.
    _already_revoked: bool

    @property
    def tag(self) -> str:
        """Delivery tag of its message."""
        return str(self._message.delivery_tag)

    @property
    def lost_attempts(self) -> Sequence[str]:
        """A line for each worker that died while the job ran."""
        return self._request_dict.get(LOST_HEADER) or ()

    @property
    def lost_id(self) -> str:
        """Its id if it has lost attempts, else nothing."""
        return str(self.id) if self.lost_attempts else ""

    @property
    def is_revoked(self) -> bool:
        """Whether a revoke was announced."""
        return bool(self._already_revoked)

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - Celery's signature
        """What `celery inspect active` shows."""
        return {**super().info(safe), "progress": self.progress()}

    def publishes(self) -> bool:
        """Whether its outcome sends other messages: links, the next of a chain, a part of a chord."""
        embed = self._payload[2]
        sources = (self._request_dict, embed if isinstance(embed, dict) else {})
        return any(each.get(name) for each in sources for name in ("callbacks", "errbacks", "chain", "chord"))

    def cancel(self, *_args: Any, **_options: Any) -> None:
        """Change nothing: a cold shutdown calls it for what runs, and that goes back to its queue."""

    def announce_revoked(self, *, terminated: bool) -> None:
        """Store REVOKED, acknowledge, tell the events; unless it was announced."""
        expired = self.maybe_expire() or False
        self._announce_revoked("expired" if expired else "revoked", terminated, None, expired)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:  # noqa: FBT001 - Celery's signature
        if self._already_revoked:
            return
        state.task_ready(self)
        told = {"terminated": terminated, "signum": signum, "expired": expired}
        tell = partial(signals.task_revoked.send, sender=self.task, request=self._context, **told)
        self.task.app.headrace_settler.revoke(self, reason=reason, told=told, tell=tell)
        self._already_revoked = True
