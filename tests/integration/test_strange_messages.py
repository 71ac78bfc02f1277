"""Messages that are no jobs: each gets its FAILURE, and the worker that met them goes on."""

import json
import uuid
from typing import Any

import orjson
import pytest

from headrace.broker.dead import DeadLetters
from headrace.client import Client, PendingResult
from headrace.errors import HeadraceError, InvalidInput, UnknownModel
from tests.integration.cluster import Cluster
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.integration

BODY = [[{"text": "a"}], {}, {}]
STRANGE: list[tuple[Any, dict[str, Any]]] = [
    ([[{"text": "a"}], [1], {}], {}),
    ([[{"text": "a"}], None, {}], {}),
    ([[{"text": "a"}]], {}),
    (5, {}),
    ({"no": "job"}, {}),
    (BODY, {"timelimit": ["x", None]}),
    (BODY, {"timelimit": "soon"}),
    (BODY, {"eta": "tomorrow"}),
    (BODY, {"expires": {"at": 1}}),
    (BODY, {"headrace_deadline": "tomorrow"}),
    ([[{"text": "a"}, {"text": "b"}], {}, {}], {}),
]


def test_no_message_stops_the_worker_and_each_is_answered(client: Client, cluster: Cluster) -> None:
    with cluster.workers("faulty") as launcher:
        worker = launcher.workers[0].pid
        refused = [_publish(client, body, headers) for body, headers in STRANGE]
        odd_channel = _publish(client, BODY, {"headrace_reply": "msgpack", "headrace_notify": {"a": 1}})
        told = [_told(client.pending(job_id)) for job_id in refused]
        assert [error for error in told if not isinstance(error, InvalidInput)] == []
        assert client.pending(odd_channel).result(timeout=20)["text"] == "a"
        assert client.submit("faulty", {"text": "after"}).result(timeout=20)["text"] == "after"
        assert launcher.workers[0].pid == worker
        wait_until(lambda: not list(client.redis.scan_iter("headrace:claims:*")))


def test_what_is_no_message_is_put_aside_and_the_next_job_runs(client: Client, cluster: Cluster) -> None:
    sound = _message(client)
    with cluster.workers("faulty") as launcher:
        worker = launcher.workers[0].pid
        shapes = [
            b"no JSON",
            b"[" * 200_000,
            b"5",
            b"{}",
            orjson.dumps(sound | {"headers": None}),
            orjson.dumps(sound | {"headers": {}}),
            orjson.dumps(sound | {"headers": ["a"]}),
            orjson.dumps(sound | {"headers": sound["headers"] | {"task": ["infer.faulty"]}}),
            orjson.dumps(sound | {"headers": sound["headers"] | {"id": ["a"]}}),
            json.dumps(sound | {"headers": sound["headers"] | {"id": "\ud800abc"}}).encode(),
            json.dumps(sound | {"content-type": "\ud800"}).encode(),
            orjson.dumps(sound | {"content-type": 5}),
            orjson.dumps(sound | {"body": "no base64"}),
            orjson.dumps(sound | {"properties": sound["properties"] | {"delivery_info": "none"}}),
        ]
        for shape in shapes:
            client.redis.lpush("infer.faulty", shape)
        assert client.submit("faulty", {"text": "after"}).result(timeout=20)["text"] == "after"
        assert launcher.workers[0].pid == worker
        wait_until(lambda: not list(client.redis.scan_iter("headrace:claims:*")))
        put_aside: Any = client.redis.lrange("dead.faulty", 0, -1)
        assert set(shapes) <= set(put_aside)


def test_a_task_that_no_model_has_is_a_failure_and_a_dead_letter(client: Client, cluster: Cluster) -> None:
    with cluster.workers("faulty"):
        sent = client.app.send_task("infer.nosuch", args=[{"text": "a"}], queue="infer.faulty")
        with pytest.raises(UnknownModel, match=r"infer\.nosuch"):
            client.pending(sent.id).result(timeout=20)
        wait_until(lambda: client.redis.llen("dead.faulty"))
        (letter,) = DeadLetters(client.redis).of("faulty")
        assert (letter.job_id, "infer.nosuch" in letter.reason) == (sent.id, True)
    assert "Traceback" not in cluster.log.read_text()


@pytest.mark.parametrize("serializer", ["pickle", "yaml", "msgpack"])
def test_a_message_of_another_serializer_tells_its_sender_which_one_is_read(
    client: Client, cluster: Cluster, serializer: str
) -> None:
    with cluster.workers("faulty"):
        sent = client.app.send_task("infer.faulty", args=[{"text": "a"}], queue="infer.faulty", serializer=serializer)
        with pytest.raises(InvalidInput, match="serializer='json'"):
            client.pending(sent.id).result(timeout=20)
    assert "Traceback" not in cluster.log.read_text()


def _message(client: Client) -> dict[str, Any]:
    """A job's message as it lies in Redis."""
    _publish(client, BODY, {})
    taken: Any = client.redis.rpop("infer.faulty")
    message: dict[str, Any] = orjson.loads(taken)
    return message


def _publish(client: Client, body: Any, headers: dict[str, Any]) -> str:
    job_id = str(uuid.uuid4())
    known = {"task": "infer.faulty", "id": job_id, "argsrepr": "", "kwargsrepr": ""}
    with client.app.producer_or_acquire() as producer:
        producer.publish(body, routing_key="infer.faulty", exchange="", serializer="json", headers=known | headers)
    return job_id


def _told(job: PendingResult) -> Any:
    try:
        return job.result(timeout=5)
    except HeadraceError as error:
        return error
