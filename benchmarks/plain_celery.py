"""The same no-op for plain Celery: `celery -A benchmarks.plain_celery worker`."""

import os
from typing import Any

from celery import Celery

_URL = os.environ.get("BENCH_URL", "redis://")

app = Celery("plain", broker=_URL, backend=_URL, set_as_current=False)
app.conf.update(task_acks_late=True, worker_send_task_events=True, task_default_queue="plain")


@app.task(name="plain.echo")
def echo(value: Any) -> Any:
    """Give back the input."""
    return value
