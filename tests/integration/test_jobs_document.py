"""docs/jobs.md: its examples run, and do what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

from headrace.client import Client
from headrace.errors import InferenceFailed, InvalidInput
from tests.integration.cluster import Cluster

PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"


@pytest.fixture
def examples() -> list[str]:
    """The page's programs, for a model that needs no weights."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [block.replace("minilm", "faulty") for block in blocks]


def test_the_first_example_runs_as_it_stands(
    cluster: Cluster, examples: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_REDIS_URL", cluster.client.url)
    with cluster.workers("faulty"):
        exec(examples[0], {})  # noqa: S102 - it is ours
    same, full, urgent, backlog = capsys.readouterr().out.splitlines()
    assert (same, backlog) == ("True", "100")
    assert "1001 jobs are more than may wait (1000, max_queue_size)" in full
    assert "Who is at the door?" in urgent


def test_a_submit_is_repeated_until_it_is_answered_and_no_longer(
    cluster: Cluster, client: Client, examples: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {}
    exec(examples[1], names)  # noqa: S102 - it is ours
    surely = names["submit_surely"]
    monkeypatch.setattr("time.sleep", lambda _: client.redis.config_set("maxmemory", "0"))
    client.submit("faulty", {"text": "a"}, idempotency_key="first")
    client.redis.config_set("maxmemory", "1")
    job = surely(client, "faulty", {"text": "a"}, "order 7")
    assert surely(client, "faulty", {"text": "a"}, "order 7").id == job.id
    with pytest.raises(InvalidInput):
        surely(client, "faulty", {"no": "text"}, "order 8")


def test_a_key_is_free_after_a_failure_and_after_a_cancel_and_not_after_a_result(cluster: Cluster) -> None:
    client = cluster.client

    def submit(**more: Any) -> Any:
        return client.submit("faulty", {"text": "a", **more}, idempotency_key="order 7")

    with cluster.workers("faulty"):
        failed = submit(do="raise")
        with pytest.raises(InferenceFailed):
            failed.result(timeout=20)
        cancelled = submit(do="sleep", seconds=0.5)
        assert cancelled.id != failed.id
        cancelled.cancel()
        done = submit()
        assert done.id != cancelled.id
        assert done.result(timeout=20)["text"] == "a"
        assert submit(do="raise").id == done.id
