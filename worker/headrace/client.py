"""Client: what an application uses to queue jobs and to get their results."""

import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any, Self

from celery import Celery

from headrace.broker.access import joined_broker
from headrace.broker.app import INFER, make_app
from headrace.broker.connection import broker_errors, connect, ping
from headrace.broker.options import SUFFIXES, Priority, SendOptions
from headrace.broker.registry import Registry
from headrace.broker.revocations import revoke
from headrace.broker.sender import Sender
from headrace.broker.waiter import Meta, ResultWaiter
from headrace.broker.withdraw import promote
from headrace.checks import Checks, check_counts, check_job_id, check_single
from headrace.chunking import Chunking
from headrace.errors import HeadraceError
from headrace.flight import Flight
from headrace.mapper import MapItem, Mapper
from headrace.pending import PendingResult
from headrace.plugins.discovery import discover
from headrace.plugins.models import KnownModels
from headrace.sdk.manifest import PluginManifest
from headrace.settings import Settings, get_settings


class Client:
    """Queues jobs on Redis and fetches their results.

    One client serves many threads; make one per process, after any fork.

    Example:
        >>> with Client() as client:  # doctest: +SKIP
        ...     client.submit("minilm", {"text": "mill wheel"}).result(timeout=60).shape
        (384,)
    """

    def __init__(self, url: str | None = None, *, settings: Settings | None = None) -> None:
        """Connect.

        Args:
            url: Redis; by default HEADRACE_REDIS_URL, then an embedded broker that runs.
            settings: By default those of the process.

        Raises:
            BrokerUnavailable: If there is no Redis to be reached, within seconds.
        """
        self.settings = settings or get_settings()
        self._held = ExitStack()
        self.url = url or self._held.enter_context(joined_broker(self.settings))
        try:
            ping(self.url, self.settings)
        except HeadraceError:
            self._held.close()
            raise
        self.redis = connect(self.url, self.settings)
        self.registry = Registry(self.redis)
        #: The Celery app, for what this class has no method for.
        self.app: Celery = make_app(self.url, self.settings)
        channel = self.redis.key(f"headrace:notify:{uuid.uuid4()}")
        self._sender = Sender(
            self.redis,
            self.url,
            channel,
            max_queue_size=self.settings.max_queue_size,
            idempotency_window=self.settings.idempotency_window or self.settings.result_expires,
        )
        self._waiter = ResultWaiter(self.redis, channel)
        self._models = KnownModels(self.registry.models, lambda: discover(self.settings.plugin_path))
        self._checks = Checks(self.manifest, max_input_bytes=self.settings.max_input_bytes)

    def close(self) -> None:
        """Free the connections; queued jobs run on, and who waits for one here gets ClientClosed."""
        self._waiter.close()
        self.app.close()
        self.redis.close()
        self._held.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    def models(self) -> list[str]:
        """Names of the models that workers serve or that this machine has."""
        with broker_errors(self.url):
            return sorted(self._models.all())

    def manifest(self, model: str) -> PluginManifest:
        """A model's manifest.

        Raises:
            UnknownModel: If neither workers nor this machine know the model.
        """
        with broker_errors(self.url):
            return self._models.get(model)

    def submit(  # noqa: PLR0913 - keyword-only, and each has a default
        self,
        model: str,
        input: Any,  # noqa: A002 - the job message's own word
        *,
        params: Mapping[str, Any] | None = None,
        expires: float | None = None,
        deadline: float | None = None,
        priority: Priority = "normal",
        idempotency_key: str | None = None,
    ) -> PendingResult:
        """Queue one input.

        Args:
            model: Name of the model.
            input: A JSON value that the model's input schema takes.
            params: The model's parameters for this job.
            expires: Seconds until a job that has not started is revoked.
            deadline: Seconds until a job that has not run is failed.
            priority: "high" is claimed before "normal", and that before "low"; what is claimed runs in any order.
            idempotency_key: Any text. Who submits with it again, within a day or as long as
                `idempotency_window` says, gets the first one's job, whatever the input. A job that
                failed, was cancelled or expired frees its key: the next submit queues a new job.

        Raises:
            UnknownModel: If neither workers nor this machine know the model.
            InvalidInput: If the schema rejects the input, it is too large, or an argument is none.
            QueueFull: If `max_queue_size` jobs of the model wait.
            BrokerUnavailable: If Redis can't be reached, or does not answer; the job may be queued then.
            ClientClosed: If this client is.
        """
        options = SendOptions(params=params, expires=expires, deadline=deadline, priority=priority)
        self._waiter.check_open()
        check_single(self._checks.of(model, params), input)
        job_id = self._sender.send(model, input, options, idempotency_key=idempotency_key)
        return PendingResult(self, job_id, model)

    def submit_many(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        params: Mapping[str, Any] | None = None,
        expires: float | None = None,
        deadline: float | None = None,
        priority: Priority = "normal",
    ) -> list[PendingResult]:
        """Queue one job per input; all of them are checked before the first is queued.

        Raises:
            As `submit`.
        """
        values = list(inputs)
        options = SendOptions(params=params, expires=expires, deadline=deadline, priority=priority)
        self._waiter.check_open()
        check = self._checks.of(model, params)
        for value in values:
            check_single(check, value)
        return [PendingResult(self, job_id, model) for job_id in self._sender.send_many(model, values, options)]

    def map(  # noqa: PLR0913 - keyword-only, and each has a default
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        params: Mapping[str, Any] | None = None,
        chunk_size: int | None = None,
        max_chunks: int | None = None,
        ordered: bool = True,
        priority: Priority = "normal",
        read: Callable[[Any], Any] = lambda value: value,
        on_wait: Callable[[], None] = lambda: None,
    ) -> Generator[MapItem]:
        """Run a model over any number of inputs with bounded memory.

        An input that is refused, fails or is lost with Redis's data gives an item with an error; the others go on.
        Closing the generator before its end cancels what is in flight.

        Args:
            model: Name of the model.
            inputs: Read lazily, `chunk_size * max_chunks` items ahead at most.
            params: The model's parameters for all inputs.
            chunk_size: Inputs in one job, fewer if they have more than 1 MiB; by default as many as a
                worker runs in about a second.
            max_chunks: Jobs that are queued at once; by default about three seconds of work for each worker.
            ordered: Yield in the order of the inputs rather than as they complete.
            priority: As for `submit`.
            read: Takes the model's input out of an element of `inputs`; may raise a
                HeadraceError to refuse the element.
            on_wait: Called about once a second while nothing arrives; may raise.

        Raises:
            As `submit`; BrokerUnavailable once Redis has been away for a minute.
        """
        check_counts(chunk_size=chunk_size, max_chunks=max_chunks)
        options = SendOptions(params=params, priority=priority)
        self._waiter.check_open()
        check = self._checks.of(model, params)
        flight = Flight(
            model=model,
            options=options,
            client=self.redis,
            url=self.url,
            sender=self._sender,
            waiter=self._waiter,
            revoke=self.revoke,
        )
        mapper = Mapper(
            jobs=flight,
            read=lambda source: check.sized(read(source)),
            on_wait=self._waiter.patiently(on_wait),
            chunking=Chunking(
                flight.count_workers, concurrency=flight.concurrency, chunk_size=chunk_size, max_chunks=max_chunks
            ),
        )
        # Not inside broker_errors: what reading `inputs` raises is the caller's own.
        yield from mapper.run(inputs, ordered=ordered)

    def futures(self, job_ids: Sequence[str]) -> list[Future[Meta]]:
        """Futures of stored results, for several jobs in one round trip."""
        with broker_errors(self.url):
            return self._waiter.futures(job_ids)

    def pending(self, job_id: str) -> PendingResult:
        """A handle on a job that was queued elsewhere or earlier.

        Raises:
            InvalidInput: If the id is no text.
        """
        check_job_id(job_id)
        return PendingResult(self, job_id)

    def revoke(self, job_ids: Sequence[str], model: str | None = None, *, terminate: bool = False) -> None:
        """Cancel jobs; see `PendingResult.cancel`.

        A job that no worker has claimed is answered when one claims it; if its model is given, it is
        the next one that is claimed.
        """
        with broker_errors(self.url):
            revoke(self.redis, job_ids, keep=self.settings.result_expires)
            for suffix in SUFFIXES.values() if model is not None else ():
                promote(self.redis, f"{INFER}{model}{suffix}", job_ids)
            self.app.control.revoke(list(job_ids), terminate=terminate)


__all__ = ["Client", "MapItem", "PendingResult"]
