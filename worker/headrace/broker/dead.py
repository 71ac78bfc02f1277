"""DeadLetters: messages that were put aside, since they are no jobs or have killed too many workers."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import orjson
import redis

from headrace.broker.app import INFER
from headrace.broker.results import result_key
from headrace.broker.waiter import decode

PREFIX = "dead."
_PAGE = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One message, as it came."""

    model: str
    payload: bytes
    #: Celery's task id; None if it cannot be read.
    job_id: str | None
    #: Why it is here, as far as its stored failure tells.
    reason: str


class DeadLetters:
    """The lists `dead.<model>`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._revive = client.register_script(files("headrace.broker").joinpath("scripts", "revive.lua").read_text())

    def models(self) -> list[str]:
        """Models that have any."""
        return sorted(key.decode().removeprefix(PREFIX) for key in self._client.scan_iter(f"{PREFIX}*", _type="list"))

    def of(self, model: str) -> Iterator[DeadLetter]:
        """Those of a model, the oldest first."""
        length = int(self._client.llen(PREFIX + model))
        for end in range(length - 1, -1, -_PAGE):
            page: Any = self._client.lrange(PREFIX + model, max(0, end - _PAGE + 1), end)
            for payload in reversed(page):
                job_id = _job_id(payload)
                yield DeadLetter(model=model, payload=payload, job_id=job_id, reason=self._reason(job_id))

    def find(self, job_id: str) -> DeadLetter | None:
        """The one of a job."""
        letters = (letter for model in self.models() for letter in self.of(model))
        return next((letter for letter in letters if letter.job_id == job_id), None)

    def retry(self, letter: DeadLetter) -> bool:
        """Send it again; return whether it was there still."""
        keys = [PREFIX + letter.model, INFER + letter.model, result_key(letter.job_id or "")]
        return bool(self._revive(keys=keys, args=[letter.payload]))

    def purge(self, model: str) -> int:
        """Delete those of a model; return how many."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.llen(PREFIX + model)
            pipe.delete(PREFIX + model)
            length, _ = pipe.execute()
        return int(length)

    def _reason(self, job_id: str | None) -> str:
        stored: Any = self._client.get(result_key(job_id)) if job_id is not None else None
        if stored is None:
            return ""
        result = decode(job_id or "", stored).get("result")
        return " ".join(map(str, result.get("exc_message") or [])) if isinstance(result, dict) else ""


def read(payload: bytes) -> Any:
    """A message for people: its headers and its body, as far as they can be read."""
    try:
        message = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload.decode(errors="backslashreplace")
    try:
        body = orjson.loads(base64.b64decode(message["body"], validate=True))
    except (KeyError, TypeError, ValueError):
        return message
    return {"headers": message.get("headers"), "body": body}


def _job_id(payload: bytes) -> str | None:
    try:
        job_id = orjson.loads(payload)["headers"]["id"]
    except (KeyError, TypeError, ValueError):
        return None
    return job_id if isinstance(job_id, str) else None
