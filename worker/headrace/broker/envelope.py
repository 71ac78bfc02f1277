"""A job message as kombu's Redis transport writes it, by Celery's protocol 2.

Written here, since Celery takes 0.6 ms for it and the server's round trip is a fraction of that.
https://docs.celeryq.dev/en/stable/internals/protocol.html#version-2
"""

import base64
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

#: What embeds the job in a canvas: nothing does.
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_OPTIONS = orjson.OPT_NON_STR_KEYS


def envelope(  # noqa: PLR0913 - keyword-only
    task: str,
    job_id: str,
    inputs: Any,
    *,
    params: Mapping[str, Any],
    queue: str,
    expires: float | None,
    extra: Mapping[str, Any],
) -> bytes:
    """Write the message of a job.

    Args:
        task: Celery's name of the task.
        job_id: Celery's id of the job.
        inputs: The only positional argument.
        params: Keyword arguments.
        queue: The list that it goes to.
        expires: Epoch seconds after which it is revoked if it has not started.
        extra: More headers.

    Raises:
        TypeError: If something in it is not JSON.
    """
    count = len(inputs) if isinstance(inputs, list) else 1
    # Performance: a repr of the inputs would cost more than the rest, and show them in Flower.
    shown = {
        "argsrepr": f"<{count} input{'s' if count > 1 else ''}>",
        "kwargsrepr": f"<{len(params)} params>",
    }
    headers = {
        "lang": "py",
        "task": task,
        "id": job_id,
        "root_id": job_id,
        "parent_id": None,
        "group": None,
        "group_index": None,
        "shadow": None,
        "eta": None,
        "expires": None if expires is None else datetime.fromtimestamp(expires, UTC).isoformat(),
        "retries": 0,
        "timelimit": (None, None),
        "origin": f"headrace{os.getpid()}@{_HOST}",
        "ignore_result": None,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
        **shown,
        **extra,
    }
    properties = {
        "correlation_id": job_id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        # The worker's transport gives it one of its own.
        "delivery_tag": job_id,
    }
    body = orjson.dumps(((inputs,), params, _EMBED), option=_OPTIONS)
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    return orjson.dumps(message)


_HOST = socket.gethostname()
