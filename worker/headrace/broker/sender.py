"""Sender: puts jobs on a model's queue, with the headers that our client wants its answer by."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import redis

from headrace.broker.app import INFER
from headrace.broker.connection import Server, redact, refusal
from headrace.broker.envelope import envelope
from headrace.broker.options import SUFFIXES, SendOptions, digest_of
from headrace.broker.results import DEADLINE_HEADER, NOTIFY_HEADER, PACKED, REPLY_HEADER, result_key
from headrace.broker.revocations import REVOKED
from headrace.broker.scripts import script
from headrace.errors import BrokerUnavailable, InvalidInput, QueueFull

_PLAIN = SendOptions()
#: Messages, and bytes of them, in one call.
_MOST_MESSAGES, _MOST_BYTES = 500, 8 * 1024 * 1024


class Sender:
    """Sends the job messages of one client."""

    def __init__(
        self,
        client: Server,
        url: str,
        channel: str,
        *,
        max_queue_size: int | None = None,
        idempotency_window: int = 86_400,
    ) -> None:
        self._client = client
        self._enqueue = script(client, "enqueue")
        self._url = url
        self._channel = channel
        self._max_queue_size = max_queue_size
        self._window = idempotency_window

    def send(
        self,
        model: str,
        inputs: Any,
        options: SendOptions = _PLAIN,
        *,
        idempotency_key: str | None = None,
    ) -> str:
        """Queue a job, of one input or of a list of them, and return its id.

        Args:
            model: Name of the model.
            inputs: An input, or a list of them for a chunk.
            options: Parameters, limits and urgency.
            idempotency_key: If a job of the model was queued under it within the window, and has not failed
                or been revoked, that one's id is returned and nothing is queued.

        Raises:
            InvalidInput: If inputs or params are not JSON, or the key is no text.
            QueueFull: If too many jobs of the model wait.
            BrokerUnavailable: If Redis does not take it.
        """
        job_id = str(uuid.uuid4())
        return self._push(model, [self.message(model, job_id, inputs, options)], options, job_id, idempotency_key)

    def send_message(self, model: str, message: bytes, options: SendOptions) -> None:
        """Queue what `message` has made.

        Raises:
            QueueFull: If too many jobs of the model wait.
            BrokerUnavailable: If Redis does not take it.
        """
        self._push(model, [message], options)

    def send_many(self, model: str, values: Sequence[Any], options: SendOptions) -> list[str]:
        """Queue a job for each value, hundreds in one round trip, and return their ids.

        Raises:
            As `send`. What was queued before it stays so; a QueueFull names it.
        """
        if self._max_queue_size is not None and len(values) > self._max_queue_size:
            raise QueueFull(
                f"{len(values)} jobs are more than may wait ({self._max_queue_size}, max_queue_size): send fewer at"
                " a time, or use map, which waits"
            )
        job_ids = [str(uuid.uuid4()) for _ in values]
        messages = (self.message(model, job_id, value, options) for job_id, value in zip(job_ids, values, strict=True))
        queued = 0
        for group in _groups(messages):
            try:
                self._push(model, group, options)
            except QueueFull as error:
                error.job_ids = job_ids[:queued]
                raise
            queued += len(group)
        return job_ids

    def message(self, model: str, job_id: str, inputs: Any, options: SendOptions) -> bytes:
        """The message of a job, of one input or of a list of them.

        Raises:
            InvalidInput: If inputs or params are not JSON.
        """
        now = time.time()
        headers: dict[str, Any] = {REPLY_HEADER: PACKED, NOTIFY_HEADER: self._channel}
        if options.deadline is not None:
            headers[DEADLINE_HEADER] = now + float(options.deadline)
        try:
            return envelope(
                INFER + model,
                job_id,
                inputs,
                params=options.params or {},
                queue=INFER + model,
                expires=None if options.expires is None else now + float(options.expires),
                extra=headers,
            )
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"the job for {model} is not JSON: {error}") from None
        except OverflowError:
            raise InvalidInput(f"the job for {model} expires in {options.expires:g} s: that is no date") from None

    def _push(
        self,
        model: str,
        messages: Sequence[bytes],
        options: SendOptions,
        job_id: str = "",
        idempotency_key: str | None = None,
    ) -> str:
        base = self._client.key(INFER + model)
        # The list that they go to comes first.
        keys = [base + SUFFIXES[options.priority], *(base + each for each in SUFFIXES.values())]
        keys = list(dict.fromkeys(keys))
        if idempotency_key is not None:
            keys += [self._client.key(f"headrace:idempotency:{model}:{digest_of(idempotency_key)}")]
            keys += [self._client.key(REVOKED)]
        window = 0 if idempotency_key is None else self._window
        most = -1 if self._max_queue_size is None else self._max_queue_size
        results = self._client.key(result_key(""))
        try:
            answer: Any = self._enqueue(keys=keys, args=[window, job_id, most, results, *messages])
        except redis.ResponseError as error:
            raise BrokerUnavailable(f"Redis at {redact(self._url)} does not take the job: {refusal(error)}") from error
        except (redis.RedisError, OSError) as error:
            raise BrokerUnavailable(
                f"Redis at {redact(self._url)} has not said that it took the job ({error}), and may have queued it: "
                "to send it again is safe with the same idempotency_key"
            ) from error
        word, told = answer
        if word == b"full":
            raise QueueFull(
                f"{told} jobs of {model} wait, and {most} may (max_queue_size): send them later, or add workers"
            )
        return told.decode() if word == b"earlier" else job_id


def _groups(messages: Iterator[bytes]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    size = 0
    for message in messages:
        if group and (len(group) == _MOST_MESSAGES or size + len(message) > _MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(message)
        size += len(message)
    if group:
        yield group
