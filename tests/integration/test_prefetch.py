"""A worker claims no more than it can run soon, of each model for itself."""

import pytest

from headrace.client import Client
from headrace.consumer.lane import WINDOWS
from headrace.engine.rate import FIRST_WINDOW, SMALLEST_WINDOW
from tests.integration.cluster import Cluster
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.integration


def test_a_slow_model_fills_its_own_lane_and_holds_up_no_other(client: Client, cluster: Cluster) -> None:
    jobs_total = 300
    with cluster.workers("faulty", "minilm") as launcher:
        client.submit_many("faulty", [{"text": str(each), "do": "sleep", "seconds": 0.5} for each in range(jobs_total)])
        wait_until(lambda: client.redis.llen("infer.faulty") <= jobs_total - WINDOWS * SMALLEST_WINDOW)
        client.submit_many("minilm", [{"text": "claimed beside a full lane"}] * 3)
        # One is enough to have the model loaded; until then the others are any worker's.
        wait_until(lambda: client.redis.llen("infer.minilm") == 2, timeout=5)
        assert client.redis.llen("infer.faulty") >= jobs_total - WINDOWS * FIRST_WINDOW
        # Half a minute of work is claimed, which nobody waits for.
        launcher.hurry()


def test_a_chunk_larger_than_two_windows_is_claimed_alone(client: Client, cluster: Cluster) -> None:
    chunk = [{"text": str(each), "do": "sleep", "seconds": 0.5} for each in range(3 * FIRST_WINDOW)]
    for _ in range(3):
        client.app.send_task("infer.faulty", args=[chunk], queue="infer.faulty")
    # They wait before the worker comes, which knows nothing of their size.
    with cluster.workers("faulty") as launcher:
        wait_until(lambda: any((client.app.control.inspect(timeout=0.5).active() or {}).values()))
        assert client.redis.llen("infer.faulty") == 2
        launcher.hurry()
