"""Claiming and answering jobs by hand, where a test needs no worker."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import redis
from celery import Celery
from celery.app.task import Context


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A job message as it lies in its queue."""

    headers: dict[str, Any]
    args: list[Any]
    kwargs: dict[str, Any]

    @property
    def id(self) -> str:
        """Celery's task id."""
        return str(self.headers["id"])


def parse(raw: bytes) -> Message:
    """Read a message as Celery's Redis transport writes it."""
    envelope = json.loads(raw)
    args, kwargs, _ = json.loads(base64.b64decode(envelope["body"]))
    return Message(headers=envelope["headers"], args=args, kwargs=kwargs)


def waiting(client: redis.Redis, queue: str) -> list[Message]:
    """The jobs in a queue, the one that a worker takes next first."""
    stored: Any = client.lrange(queue, 0, -1)
    return [parse(raw) for raw in reversed(stored)]


def take(client: redis.Redis, queue: str) -> Message:
    """Take the next job; nobody has a note of it then."""
    raw: Any = client.rpop(queue)
    assert raw is not None, f"no job waits in {queue}"
    return parse(raw)


def answer(app: Celery, message: Message, result: Any, state: str = "SUCCESS") -> None:
    """Store a job's result in the form that its sender asked for."""
    app.backend.store_result(message.id, result, state, request=Context(message.headers))
