"""Sender: puts jobs on a model's queue, with the headers that our client wants its answer by."""

import time
from collections.abc import Mapping
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from headrace.broker.app import INFER
from headrace.broker.connection import redact
from headrace.broker.results import DEADLINE_HEADER, NOTIFY_HEADER, PACKED, REPLY_HEADER
from headrace.errors import BrokerUnavailable


class Sender:
    """Sends the job messages of one client."""

    def __init__(self, app: Celery, url: str, channel: str) -> None:
        self._app = app
        self._url = url
        self._channel = channel

    def send(
        self,
        model: str,
        inputs: Any,
        *,
        params: Mapping[str, Any] | None,
        expires: float | None = None,
        deadline: float | None = None,
        job_id: str | None = None,
    ) -> str:
        """Queue a job, of one input or of a list of them, and return its id.

        Args:
            model: Name of the model.
            inputs: An input, or a list of them for a chunk.
            params: The model's parameters.
            expires: Seconds until a job that has not started is revoked.
            deadline: Seconds until a job that has not run is failed.
            job_id: The id to give it; by default a new one.

        Raises:
            BrokerUnavailable: If Redis does not take it.
        """
        headers: dict[str, Any] = {REPLY_HEADER: PACKED, NOTIFY_HEADER: self._channel}
        if deadline is not None:
            headers[DEADLINE_HEADER] = time.time() + deadline
        count = len(inputs) if isinstance(inputs, list) else 1
        try:
            sent = self._app.send_task(
                INFER + model,
                args=[inputs],
                kwargs=dict(params or {}),
                expires=expires,
                task_id=job_id,
                headers=headers,
                retry=False,
                # Performance: a repr of the inputs costs more than the rest, and shows them in Flower.
                argsrepr=f"<{count} input{'s' if count > 1 else ''}>",
                kwargsrepr=f"<{len(params or {})} params>",
            )
        except (OperationalError, OSError) as error:
            raise BrokerUnavailable(f"Redis at {redact(self._url)} does not take the job: {error}") from error
        return str(sent.id)
