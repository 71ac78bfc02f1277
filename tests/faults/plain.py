"""The same job for plain Celery: stock transport, late acknowledgement, a short visibility time-out."""

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

_URL = os.environ.get("CHAOS_URL", "redis://")

app = Celery("plain", broker=_URL, backend=_URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=4,
    broker_transport_options={"visibility_timeout": 5},
    broker_connection_retry_on_startup=True,
    task_default_queue="plain",
)


@app.task(name="plain.run")
def run(data: dict[str, Any]) -> dict[str, Any]:
    """Note that it runs, and take its time."""
    with Path(data["path"]).open("a") as ledger:
        ledger.write(f"{data['text']}\n")
    time.sleep(data["seconds"])
    return {"text": data["text"], "pid": os.getpid(), "at": time.time()}
