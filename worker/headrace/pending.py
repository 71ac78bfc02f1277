"""PendingResult: a handle on a queued job."""

import asyncio
import uuid
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Protocol

from headrace.broker.results import value_of
from headrace.broker.waiter import Meta
from headrace.errors import ResultTimeout


class Jobs(Protocol):
    """What a handle asks of the client that made it."""

    def futures(self, job_ids: Sequence[str]) -> list[Future[Meta]]:
        """Futures of stored results."""

    def revoke(self, job_ids: Sequence[str], model: str | None = None, *, terminate: bool = False) -> None:
        """Cancel jobs."""


class PendingResult:
    """A queued job. Waiting for it is optional; the job runs either way."""

    def __init__(self, jobs: Jobs, job_id: str, model: str | None = None) -> None:
        self._jobs = jobs
        self._model = model
        #: Celery's task id.
        self.id = job_id
        self._future: Future[Meta] | None = None

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the job and return its output.

        Args:
            timeout: Seconds to wait; None waits until there is a result.

        Raises:
            ResultTimeout: If there is none in time.
            JobRevoked: If the job was cancelled or expired.
            HeadraceError: The error that the job failed with.
        """
        try:
            meta = self._wait().result(timeout)
        except FutureTimeout:
            raise ResultTimeout(f"job {self.id} has no result after {timeout:g} s: {_advice(self.id)}") from None
        return value_of(meta)

    def done(self) -> bool:
        """Whether there is an output or an error."""
        return self._wait().done()

    def cancel(self, *, terminate: bool = False) -> None:
        """Revoke the job: `result` raises JobRevoked once a worker has heard of it.

        A job that waits never starts. Of one that runs no more items are begun, and what runs ends
        first, its output dropped.

        Args:
            terminate: End the engine that runs the job, as Celery's `revoke(terminate=True)` does. The
                answer comes at once, and the other jobs of its batches run again, none of them with an
                attempt less, once the model is loaded again.
        """
        self._jobs.revoke([self.id], self._model, terminate=terminate)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait in an event loop."""
        return self._await().__await__()

    async def _await(self) -> Any:
        # Registering asks Redis once, which would block the loop.
        future = await asyncio.get_running_loop().run_in_executor(None, self._wait)
        # Shielded: who stops waiting must not cancel the future that others wait for.
        return value_of(await asyncio.shield(asyncio.wrap_future(future)))

    def _wait(self) -> Future[Meta]:
        if self._future is None:
            self._future = self._jobs.futures([self.id])[0]
        return self._future


def is_of_ours(job_id: str) -> bool:
    """Whether an id is one that a client of headrace or of Celery gives; a Celery producer may choose any other.

    Example:
        >>> is_of_ours("0b5e1d6e-6a53-4e0c-9d0f-3c1e2c6f8a11"), is_of_ours("order-7")
        (True, False)
    """
    try:
        return str(uuid.UUID(job_id)) == job_id
    except ValueError:
        return False


def _advice(job_id: str) -> str:
    if is_of_ours(job_id):
        return "is a worker running? `headrace models` tells"
    return "it is no id that headrace gives: is it that of a job?"
