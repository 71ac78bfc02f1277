"""A producer that has never heard of headrace."""

import subprocess
import sys

from headrace.client import Client
from tests.integration.cluster import Cluster

PRODUCER = """
import sys
from celery import Celery

app = Celery(broker=sys.argv[1], backend=sys.argv[1])
sent = app.send_task("infer.minilm", args=[{"text": "The mill wheel turns."}], queue="infer.minilm")
print(len(sent.get(timeout=60)), any(name.split(".")[0] == "headrace" for name in sys.modules))
"""


def test_a_celery_producer_without_headrace_gets_an_embedding(client: Client, cluster: Cluster) -> None:
    with cluster.workers("minilm"):
        done = subprocess.run(
            [sys.executable, "-c", PRODUCER, client.url], capture_output=True, text=True, timeout=100, check=False
        )
    assert done.stdout.split() == ["384", "False"], done.stderr
