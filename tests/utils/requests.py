"""Celery requests as a worker makes them: claimed from a real queue, acknowledged there, traced by Celery."""

import uuid
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.worker.request import create_request_cls
from kombu import Connection

from headrace.broker.app import INFER
from headrace.broker.claims import Claims
from headrace.broker.connection import Server
from headrace.broker.transport import leased_transport
from headrace.consumer.job import Job
from headrace.consumer.parse import parse_job
from headrace.consumer.request import JobRequest
from headrace.consumer.settle import Settler
from headrace.sdk.messages import Outcome


class Events:
    """Celery's event dispatcher, which here only remembers."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, **fields: Any) -> None:
        """Note an event."""
        self.sent.append((kind, fields))

    @property
    def kinds(self) -> list[str]:
        """The events' names in order."""
        return [kind for kind, _ in self.sent]


class Desk:
    """Sends jobs through an app, and claims them as a worker's consumer does."""

    def __init__(self, app: Celery, client: Server) -> None:
        self.app = app
        self.redis = client
        self.events = Events()
        self.claims = Claims(client, lease_seconds=60.0)
        self.claims.begin()
        self.settler = Settler(self.claims, expires=600)
        app.headrace_claims = self.claims
        app.headrace_settler = self.settler
        self._connection = self.connection(lambda _: 0)
        self._channel = self._connection.default_channel

    def connection(self, room: Callable[[str], int]) -> Connection:
        """A connection as a worker's consumer has it."""
        connection = Connection(self.app.conf.broker_url)
        connection.transport_cls = leased_transport(self.claims, room)
        return connection

    def close(self) -> None:
        """Give the connection back."""
        self._connection.release()

    def send(self, *args: Any, model: str = "m", **options: Any) -> str:
        """Queue a job and return its id."""
        return str(self.app.send_task(INFER + model, args=args, **options).id)

    def publish(self, body: Any, *, model: str = "m", **headers: Any) -> str:
        """Queue a message as a producer that knows the protocol by half; return its id."""
        job_id = str(uuid.uuid4())
        known = {"task": INFER + model, "id": job_id, "argsrepr": "", "kwargsrepr": ""}
        with self.app.producer_or_acquire() as producer:
            producer.publish(body, routing_key=INFER + model, exchange="", serializer="json", headers=known | headers)
        return job_id

    def message(self, model: str = "m") -> Any:
        """The next message of a model's queue, claimed."""
        message = self._channel.basic_get(INFER + model)
        assert message, f"the queue of {model} is empty"
        return message

    def claim(self, pool: Any, model: str = "m") -> JobRequest:
        """The next message of a model's queue, as the request that Celery hands to this pool."""
        task = self.app.tasks[INFER + model]
        message = self.message(model)
        request_class = create_request_cls(JobRequest, task, pool, "tests", self.events, app=self.app)
        request: JobRequest = request_class(
            message,
            on_ack=message.ack_log_error,
            on_reject=message.reject_log_error,
            app=self.app,
            hostname="tests",
            eventer=self.events,
            task=task,
        )
        return request

    def job(self, *args: Any, model: str = "m", **options: Any) -> Job:
        """Send, claim and parse a job."""
        self.send(*args, model=model, **options)
        return self.parsed(model)

    def parsed(self, model: str = "m") -> Job:
        """Claim and parse a job."""
        pool = _Parser()
        self.claim(pool, model).execute_using_pool(pool)
        assert pool.job
        return pool.job

    def settle(self, *jobs: Job) -> bool:
        """Settle jobs; return whether that is over."""
        self.settler.settle(jobs)
        return not self.settler.busy

    def settle_again(self) -> bool:
        """Try again what Redis did not take, as the worker does after a second."""
        self.settler._again_at = 0.0
        self.settler.tick()
        return not self.settler.busy

    def meta(self, job_id: str) -> dict[str, Any]:
        """What the backend has stored for a job."""
        found: dict[str, Any] = self.app.backend.get_task_meta(job_id, cache=False)
        return found

    @property
    def undelivered(self) -> int:
        """Messages that kombu keeps."""
        self._channel.qos._flush()
        return len(self._channel.qos._delivered)

    @property
    def unacked(self) -> int:
        """Messages that were claimed and not acknowledged."""
        self.claims.flush()
        return int(self.redis.hlen(f"headrace:claims:{self.claims.incarnation}"))


def answer(job: Job, *outcomes: Outcome) -> Job:
    """Give a job its outcomes, as if an engine had run all its items in one batch."""
    for item, outcome in zip(job.hand_over(len(outcomes)), outcomes, strict=True):
        job.outcomes[item.item_id] = outcome
        job.batches[item.item_id] = len(outcomes), 0.5
    return job


class _Parser:
    """A pool that parses what it is given."""

    job: Job | None = None

    def apply_async(self, target: Any, args: Any, **options: Any) -> Job:
        self.job = parse_job(options["callback"].__self__, target, args, time_limit=options["timeout"], arrived=0.0)
        return self.job
