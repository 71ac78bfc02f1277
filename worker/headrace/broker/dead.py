"""DeadLetters: messages that were put aside, since they are no jobs or have killed too many workers."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from headrace.broker.app import DEAD, INFER, WHY_DEAD
from headrace.broker.connection import Server
from headrace.broker.results import result_key
from headrace.broker.scripts import script

_PAGE = 100
#: Characters of the digest by which a message without an id is named.
_NAMED_BY = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One message, as it came."""

    model: str
    payload: bytes
    #: Celery's task id; None if it cannot be read.
    job_id: str | None
    #: Why it is here.
    reason: str = ""
    #: Epoch seconds since when; None if an older version put it here.
    since: int | None = None

    @property
    def name(self) -> str:
        """What it is asked for by: the job's id, or the beginning of a digest where there is none."""
        return self.job_id or self.digest[:_NAMED_BY]

    @property
    def digest(self) -> str:
        """Under which its reason is kept."""
        return hashlib.sha1(self.payload, usedforsecurity=False).hexdigest()


class DeadLetters:
    """The lists `dead.<model>`."""

    def __init__(self, client: Server) -> None:
        self._client = client
        self._revive = script(client, "revive")

    def models(self) -> list[str]:
        """Models that have any."""
        prefix = self._key("")
        return sorted(key.decode().removeprefix(prefix) for key in self._client.scan_iter(f"{prefix}*", _type="list"))

    def has(self, model: str) -> bool:
        """Whether a model has any."""
        return bool(self._client.exists(self._key(model)))

    def of(self, model: str) -> Iterator[DeadLetter]:
        """Those of a model, the oldest first."""
        length = int(self._client.llen(self._key(model)))
        for end in range(length - 1, -1, -_PAGE):
            page: Any = self._client.lrange(self._key(model), max(0, end - _PAGE + 1), end)
            for payload in reversed(page):
                letter = DeadLetter(model=model, payload=payload, job_id=_job_id(payload))
                why: Any = self._client.hget(self._client.key(WHY_DEAD + model), letter.digest)
                since, reason = _since_and_why((why or b"").decode())
                yield replace(letter, since=since, reason=reason)

    def find(self, name: str) -> DeadLetter | None:
        """The one of a job, or of the name that `DeadLetter.name` gives it."""
        letters = (letter for model in self.models() for letter in self.of(model))
        return next((letter for letter in letters if letter.name == name), None)

    def retry(self, letter: DeadLetter) -> bool:
        """Send it again; return whether it was there still."""
        model = letter.model
        names = [DEAD + model, INFER + model, result_key(letter.job_id or ""), WHY_DEAD + model]
        keys = [self._client.key(name) for name in names]
        return bool(self._revive(keys=keys, args=[letter.payload]))

    def purge(self, model: str) -> int:
        """Delete those of a model; return how many."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.llen(self._key(model))
            pipe.delete(self._key(model), self._client.key(WHY_DEAD + model))
            length, _ = pipe.execute()
        return int(length)

    def _key(self, model: str) -> str:
        return self._client.key(DEAD + model)


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


def _since_and_why(told: str) -> tuple[int | None, str]:
    """Take apart what `bury.lua` has written; older versions wrote the reason alone."""
    since, mark, reason = told.partition("\n")
    return (int(since), reason) if mark and since.isdecimal() else (None, told)


def _job_id(payload: bytes) -> str | None:
    try:
        job_id = orjson.loads(payload)["headers"]["id"]
    except (KeyError, TypeError, ValueError):
        return None
    return job_id if isinstance(job_id, str) else None
