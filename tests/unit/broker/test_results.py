"""ResultBackend: msgpack and a notice for our client, Celery's JSON for everyone else."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from celery import Celery
from celery.app.task import Context

from headrace.broker import codec
from headrace.broker.results import NOTIFY_HEADER, PACKED, REPLY_HEADER, result_key, value_of, wants_packed
from headrace.errors import HeadraceError, InvalidInput, JobRevoked

#: Celery stores its JSON with a call that redis-py is about to drop.

CHANNEL = "headrace:notify:test"
OURS = Context({REPLY_HEADER: PACKED, NOTIFY_HEADER: CHANNEL})


def _stored(client: redis.Redis, job_id: str) -> bytes:
    value: Any = client.get(result_key(job_id))
    return bytes(value)


def _failure(kind: Any, message: Any) -> dict[str, Any]:
    return {"status": "FAILURE", "result": {"exc_type": kind, "exc_message": message}}


def test_the_value_of_a_success_is_its_result() -> None:
    assert value_of({"status": "SUCCESS", "result": [None]}) == [None]


def test_a_revoked_job_is_named() -> None:
    with pytest.raises(JobRevoked, match="job-1"):
        value_of({"status": "REVOKED", "result": {"exc_type": "TaskRevokedError"}, "task_id": "job-1"})


@pytest.mark.parametrize(
    ("meta", "kind", "words"),
    [
        (_failure("InvalidInput", ["text: too dull"]), InvalidInput, "text: too dull"),
        (_failure("KeyError", ("a", 1)), HeadraceError, "KeyError: a 1"),
        (_failure("InvalidInput", None), InvalidInput, ""),
        ({"status": "FAILURE", "result": {}}, HeadraceError, "None: "),
    ],
)
def test_a_failure_becomes_the_error_that_it_was(meta: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(HeadraceError) as caught:
        value_of(meta)
    assert type(caught.value) is kind
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("request_", "packed"),
    [(None, False), (Context({}), False), (Context({REPLY_HEADER: "pickle"}), False), (OURS, True)],
)
def test_only_who_asks_for_msgpack_gets_it(request_: Context | None, *, packed: bool) -> None:
    assert wants_packed(request_) is packed


def test_a_packed_result_keeps_arrays_and_is_announced(client: redis.Redis, app: Celery) -> None:
    pubsub: Any = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    with pubsub:
        pubsub.subscribe(CHANNEL)
        pubsub.get_message(timeout=5)
        app.backend.store_result("job-1", np.ones(3, "float32"), "SUCCESS", request=OURS)
        assert pubsub.get_message(timeout=5)["data"] == b"job-1"
    meta = codec.unpack(_stored(client, "job-1"))
    assert (meta["task_id"], meta["status"], meta["result"].dtype) == ("job-1", "SUCCESS", np.dtype("float32"))


@pytest.mark.parametrize("request_", [None, Context({}), OURS, Context({REPLY_HEADER: PACKED})])
def test_results_expire_in_either_form(client: redis.Redis, app: Celery, request_: Context | None) -> None:
    app.backend.store_result("job-1", 1, "SUCCESS", request=request_)
    left: Any = client.ttl(result_key("job-1"))
    assert app.conf.result_expires - 10 <= left <= app.conf.result_expires


def test_a_plain_producer_gets_celerys_json(client: redis.Redis, app: Celery) -> None:
    app.backend.store_result("job-1", {"a": [1.5]}, "SUCCESS", request=Context({}))
    meta = json.loads(_stored(client, "job-1"))
    assert (meta["status"], meta["result"]) == ("SUCCESS", {"a": [1.5]})


@pytest.mark.parametrize("request_", [Context({}), OURS])
def test_celerys_own_handle_reads_either_form(app: Celery, client: redis.Redis, request_: Context) -> None:
    app.backend.store_result("job-1", [1, "mill"], "SUCCESS", request=request_)
    assert app.AsyncResult("job-1").get(timeout=5) == [1, "mill"]


@pytest.mark.parametrize("request_", [Context({}), OURS])
def test_a_success_is_never_replaced_by_a_failure(app: Celery, client: redis.Redis, request_: Context) -> None:
    app.backend.store_result("job-1", "first", "SUCCESS", request=request_)
    app.backend.store_result("job-1", InvalidInput("late"), "FAILURE", request=request_)
    assert value_of(app.backend.decode(_stored(client, "job-1"))) == "first"


def test_a_retry_is_replaced_by_a_later_success(app: Celery, client: redis.Redis) -> None:
    app.backend.store_result("job-1", InvalidInput("first try"), "RETRY", request=OURS)
    app.backend.store_result("job-1", "second", "SUCCESS", request=OURS)
    assert value_of(codec.unpack(_stored(client, "job-1"))) == "second"


def test_an_error_comes_back_as_it_was_stored(app: Celery, client: redis.Redis) -> None:
    app.backend.store_result("job-1", InvalidInput("text: too dull"), "FAILURE", traceback="...", request=OURS)
    with pytest.raises(InvalidInput, match=r"^text: too dull$"):
        value_of(codec.unpack(_stored(client, "job-1")))


def test_a_revoked_job_is_stored_and_announced_like_any_other(app: Celery, client: redis.Redis) -> None:
    app.backend.mark_as_revoked("job-1", "terminated", request=OURS)
    with pytest.raises(JobRevoked, match="job-1"):
        value_of(codec.unpack(_stored(client, "job-1")))


class _Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._path,))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_result_is_never_unpickled(app: Celery, tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "sprung"
    with pytest.raises(Exception):  # noqa: B017, PT011 - which parser refuses depends on the first byte
        app.backend.decode(pickle.dumps(_Trap(trap), protocol=protocol))
    assert not trap.exists()
