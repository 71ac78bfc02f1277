"""`headrace run` without a worker: who serves the model, what goes in, what is counted."""

import errno
import io
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.broker.app import INFER
from headrace.broker.embedded import EmbeddedBroker
from headrace.broker.registry import WorkerRecord
from headrace.bulk.options import RunOptions
from headrace.bulk.run import Summary, run
from headrace.client import Client, MapItem
from headrace.errors import BrokerUnavailable, ConfigError, EngineDied, InvalidInput, UnknownModel
from headrace.settings import Settings
from tests.utils import jobs

PLUGINS = Path(__file__).parents[2] / "plugins"
FAULTY = RunOptions(model="faulty", chunk_size=2)
MANIFEST = {"name": "afar", "version": "1", "entry_point": "afar:Afar", "task": "t"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with a server of the module's own."""
    folder = tmp_path_factory.mktemp("state")
    with EmbeddedBroker(folder, bundled=True) as url:
        yield Settings(state_dir=folder, redis_url=url, plugin_path=[PLUGINS], broker="bundled")


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """A client of the server, which is empty."""
    with Client(settings=settings) as client:
        client.redis.flushall()
        yield client


@pytest.fixture
def served(client: Client) -> Client:
    """A client of a server that has a worker, as far as one can tell."""
    client.registry.beat(WorkerRecord(name="cpu0@afar", models=["faulty", "afar"]))
    return client


@contextmanager
def _answering(client: Client, most: int = 1000) -> Iterator[list[Any]]:
    """Answer some jobs as a worker would, in batches of four; `bad` fails. Gives the kwargs of each job."""
    seen: list[Any] = []
    ended = threading.Event()

    def answer() -> None:
        while not ended.wait(0.005):
            while len(seen) < most and client.redis.llen(INFER + "faulty"):
                message = jobs.take(client.redis, INFER + "faulty")
                seen.append(message.kwargs)
                jobs.answer(client.app, message, [_row(value["text"]) for value in message.args[0]])

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _row(text: str) -> dict[str, Any]:
    if text == "bad":
        return {"ok": False, "error": {"code": "inference_failed", "message": "no"}, "batch_size": 4}
    return {"ok": True, "output": text.upper(), "batch_size": 4}


def _source(*rows: Any) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def _rows(sink: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sink.getvalue().splitlines()]


class TestRows:
    def test_each_row_comes_back_in_order_and_is_counted(self, served: Client, settings: Settings) -> None:
        sink, told = io.BytesIO(), list[int]()
        source = _source(
            *({"custom_id": number, "text": text} for number, text in enumerate(["a", "bad", "c", 4, "e"]))
        )
        with _answering(served) as seen:
            summary = run(FAULTY, source, sink, settings=settings, progress=lambda each: told.append(each.items))
        assert [(row["custom_id"], row["output"]) for row in _rows(sink)] == [
            (0, "A"),
            (1, None),
            (2, "C"),
            (3, None),
            (4, "E"),
        ]
        codes = [row["error"]["code"] for row in _rows(sink) if row["error"]]
        assert codes == ["inference_failed", "invalid_input"]
        assert (summary.items, summary.failures, summary.ran, summary.batches) == (5, 2, 4, 1.0)
        assert summary.seconds > 0
        assert [count for count in told if count] == [1, 2, 3, 4, 5]
        assert len(seen) == 3

    def test_the_field_and_the_params_are_those_of_the_options(self, served: Client, settings: Settings) -> None:
        options = RunOptions(model="faulty", field="body", params={"top": 3})
        sink = io.BytesIO()
        with _answering(served) as seen:
            run(options, _source({"body": "a"}, {"text": "b"}), sink, settings=settings)
        assert [row["output"] for row in _rows(sink)] == ["A", None]
        assert seen == [{"top": 3}]

    def test_input_that_is_all_bad_needs_no_job(self, served: Client, settings: Settings) -> None:
        source, sink = io.BytesIO(b'nonsense\n\n[1]\n{"body": 1}\n{"text": 5}\n'), io.BytesIO()
        summary = run(FAULTY, source, sink, settings=settings)
        codes = [row["error"]["code"] for row in _rows(sink)]
        assert codes == ["invalid_line", "invalid_line", "invalid_line", "invalid_input"]
        assert (summary.items, summary.failures, summary.ran, summary.mean_batch_size) == (4, 4, 0, 0.0)
        assert served.redis.llen(INFER + "faulty") == 0

    def test_no_input_is_no_row(self, served: Client, settings: Settings) -> None:
        sink = io.BytesIO()
        assert run(FAULTY, io.BytesIO(), sink, settings=settings).items == 0
        assert sink.getvalue() == b""

    @pytest.mark.parametrize(
        ("raised", "told"), [(OSError(errno.ENOSPC, "No space left"), "No space left"), (BrokenPipeError(), "closed")]
    )
    def test_an_output_that_takes_no_row_ends_the_run_and_leaves_no_job(
        self, served: Client, settings: Settings, raised: OSError, told: str
    ) -> None:
        class Full(io.BytesIO):
            def write(self, data: Any) -> int:
                raise raised

        with _answering(served, most=1), pytest.raises(ConfigError, match=told):
            run(FAULTY, _source(*({"text": "a"} for _ in range(50))), Full(), settings=settings)
        assert served.redis.llen(INFER + "faulty") == 0

    @pytest.mark.parametrize(("text", "kept"), [("a", False), ("bad", True)])
    def test_the_workers_log_stays_if_a_row_failed(
        self, served: Client, settings: Settings, text: str, *, kept: bool
    ) -> None:
        log = settings.state_dir / "logs" / f"run-{os.getpid()}.log"
        log.parent.mkdir(exist_ok=True)
        log.touch()
        with _answering(served):
            run(FAULTY, _source({"text": text}), io.BytesIO(), settings=settings)
        assert log.exists() is kept


class TestRefusals:
    def test_no_broker(self, tmp_path: Path) -> None:
        settings = Settings(state_dir=tmp_path, redis_url="redis://:secret@127.0.0.1:1/0", plugin_path=[PLUGINS])
        with pytest.raises(BrokerUnavailable) as caught:
            run(FAULTY, io.BytesIO(), io.BytesIO(), settings=settings)
        assert "secret" not in str(caught.value)

    def test_a_model_that_nobody_knows(self, served: Client, settings: Settings) -> None:
        with pytest.raises(UnknownModel, match="did you mean 'faulty'"):
            run(RunOptions(model="fualty"), io.BytesIO(), io.BytesIO(), settings=settings)

    def test_a_model_of_another_machine_that_has_no_worker_any_more(self, client: Client, settings: Settings) -> None:
        client.registry.publish({"afar": MANIFEST})
        with pytest.raises(UnknownModel, match="afar"):
            run(RunOptions(model="afar"), io.BytesIO(), io.BytesIO(), settings=settings)

    @pytest.mark.parametrize(
        "options", [RunOptions(model="faulty", chunk_size=0), RunOptions(model="faulty", devices="x")]
    )
    def test_options_that_make_no_sense(self, client: Client, settings: Settings, options: RunOptions) -> None:
        if options.devices == "auto":
            client.registry.beat(WorkerRecord(name="cpu0@afar", models=["faulty"]))
        with pytest.raises(ConfigError):
            run(options, io.BytesIO(), io.BytesIO(), settings=settings)


class TestSummary:
    def test_nothing_done_is_no_division_by_zero(self) -> None:
        assert (Summary().mean_batch_size, Summary().items_per_second) == (0.0, 0.0)

    def test_the_mean_is_over_the_items_that_ran(self) -> None:
        summary = Summary(seconds=2.0)
        for size in (4, 4, 4, 4, 2, 2, 0):
            summary.add(MapItem(index=0, source=None, batch_size=size), None if size else InvalidInput("no"))
        assert (summary.items, summary.failures, summary.ran) == (7, 1, 6)
        assert summary.mean_batch_size == 3.0
        assert summary.items_per_second == 3.5

    def test_of_each_code_the_first_error_is_kept(self) -> None:
        summary = Summary()
        for error in (InvalidInput("first"), None, EngineDied("other"), InvalidInput("second")):
            summary.add(MapItem(index=0, source=None), error)
        assert summary.errors == {"invalid_input": (2, "first"), "engine_died": (1, "other")}
