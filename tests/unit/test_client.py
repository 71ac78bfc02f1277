"""Client: what is refused before it is queued, and what becomes of jobs that nobody reads."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.broker.connection import connect
from headrace.broker.embedded import EmbeddedBroker, running_url
from headrace.client import Client
from headrace.errors import BrokerUnavailable, ConfigError, HeadraceError, InputTooLarge, InvalidInput, UnknownModel
from headrace.settings import Settings
from tests.utils.jobs import Message, answer, take, waiting
from tests.utils.servers import unguarded
from tests.utils.waiting import wait_until

QUEUE = "infer.mill"
PLUGINS = Path(__file__).parents[1] / "plugins"
MILL = {
    "name": "mill",
    "version": "1",
    "entry_point": "mill.plugin:Mill",
    "task": "grind",
    "input_schema": {"type": "object", "required": ["text"]},
    "params_schema": {"properties": {"fine": {"type": "boolean"}}, "additionalProperties": False},
}
GOOD = {"text": "grain"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        state_dir=tmp_path_factory.mktemp("client"),
        broker="bundled",
        redis_url=None,
        plugin_path=[PLUGINS],
        max_input_bytes=1000,
        connect_timeout=0.5,
    )


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with EmbeddedBroker(settings.state_dir, bundled=True) as url:
        yield url


@pytest.fixture
def client(url: str, settings: Settings) -> Iterator[Client]:
    """A client of an empty Redis, to which a worker published the model `mill`."""
    with Client(url, settings=settings) as client:
        client.redis.flushall()
        client.registry.publish({"mill": MILL})
        yield client


def _rows(message: Message) -> list[dict[str, Any]]:
    (inputs,) = message.args
    return [{"ok": True, "output": each["text"].upper(), "batch_size": len(inputs)} for each in inputs]


def _work(client: Client) -> None:
    """Answer the next chunk as a worker would."""
    message = take(client.redis, QUEUE)
    answer(client.app, message, _rows(message))


def _results(client: Client) -> list[Any]:
    return list(client.redis.scan_iter("celery-task-meta-*"))


def test_without_a_broker_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, broker="bundled", redis_url=None)
    with pytest.raises(BrokerUnavailable, match="headrace up"):
        Client(settings=settings)


@pytest.mark.parametrize("given", ["argument", "settings"])
def test_a_redis_that_is_away_is_reported_at_once(tmp_path: Path, given: str) -> None:
    away = f"redis+socket://{tmp_path}/none.sock?virtual_host=0"
    settings = Settings(state_dir=tmp_path, redis_url=away if given == "settings" else None)
    with pytest.raises(BrokerUnavailable, match=r"none\.sock.*is it running"):
        Client(away if given == "argument" else None, settings=settings)


def test_a_client_without_a_url_shares_the_embedded_broker_until_it_closes(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, broker="bundled", redis_url=None)
    broker = EmbeddedBroker(tmp_path, bundled=True)
    broker.start()
    client = Client(settings=settings)
    broker.close()
    assert client.redis.ping()
    client.close()
    client.close()
    wait_until(lambda: running_url(tmp_path, bundled=True) is None)


def test_a_client_that_cannot_use_the_embedded_broker_gives_its_share_back(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, broker="bundled", redis_url=None)
    with EmbeddedBroker(tmp_path, bundled=True) as url:
        with connect(url, settings) as connection:
            connection.config_set("requirepass", "secret")
        with pytest.raises(BrokerUnavailable, match="Authentication required"):
            Client(settings=settings)
    wait_until(lambda: running_url(tmp_path, bundled=True) is None)


def test_models_of_workers_and_of_this_machine_are_known(client: Client) -> None:
    assert {"mill", "faulty"} <= set(client.models())
    assert client.manifest("mill").task == "grind"
    assert client.manifest("faulty").field == "text"


def test_an_unknown_model_is_refused_with_those_there_are(client: Client) -> None:
    for ask in (client.manifest, lambda name: client.submit(name, GOOD), lambda name: next(client.map(name, [GOOD]))):
        with pytest.raises(UnknownModel, match="mill"):
            ask("mull")
    assert not client.redis.exists("infer.mull")


@pytest.mark.parametrize(
    ("value", "params", "kind"),
    [
        ({"no": "text"}, None, InvalidInput),
        ({"text": object()}, None, InvalidInput),
        ({"text": "x" * 1000}, None, InputTooLarge),
        ([GOOD], None, InvalidInput),
        (GOOD, {"coarse": True}, InvalidInput),
        (GOOD, {"fine": "very"}, InvalidInput),
    ],
)
def test_one_bad_input_among_good_ones_queues_nothing(
    client: Client, value: Any, params: dict[str, Any] | None, kind: type[HeadraceError]
) -> None:
    with pytest.raises(kind):
        client.submit_many("mill", [GOOD, value], params=params)
    assert waiting(client.redis, QUEUE) == []


def test_a_list_is_no_single_input_whatever_the_schema_takes(client: Client) -> None:
    client.registry.publish({"any": {**MILL, "name": "any", "input_schema": {}}})
    with pytest.raises(InvalidInput, match="submit_many or map"):
        client.submit("any", [GOOD])
    assert waiting(client.redis, "infer.any") == []


def test_each_input_is_a_job_of_its_own_in_order(client: Client) -> None:
    inputs = [{"text": str(each)} for each in range(3)]
    jobs = client.submit_many("mill", iter(inputs), params={"fine": True}, expires=60, deadline=60)
    messages = waiting(client.redis, QUEUE)
    assert [message.id for message in messages] == [job.id for job in jobs]
    assert [message.args for message in messages] == [[each] for each in inputs]
    assert all(message.kwargs == {"fine": True} for message in messages)
    assert all(message.headers["expires"] and message.headers["headrace_deadline"] for message in messages)
    assert client.submit_many("mill", []) == []


def test_a_job_that_was_queued_elsewhere_can_be_waited_for(client: Client, url: str, settings: Settings) -> None:
    with Client(url, settings=settings) as other:
        job_id = other.submit("mill", GOOD).id
    answer(client.app, take(client.redis, QUEUE), "flour")
    assert client.pending(job_id).result(timeout=5) == "flour"


@pytest.mark.parametrize(("chunk_size", "max_chunks"), [(0, 1), (1, 0), (-1, 1)])
def test_a_mapping_without_room_is_refused(client: Client, chunk_size: int, max_chunks: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        next(client.map("mill", [GOOD], chunk_size=chunk_size, max_chunks=max_chunks))


def test_a_mapping_with_bad_params_is_refused(client: Client) -> None:
    with pytest.raises(InvalidInput, match="params"):
        next(client.map("mill", [GOOD], params={"coarse": True}))


def test_a_mapping_answers_in_order_and_leaves_nothing_behind(client: Client) -> None:
    def inputs() -> Iterator[dict[str, str]]:
        yield from ({"text": each} for each in "abcd")
        _work(client)
        yield {"no": "text"}

    items = list(client.map("mill", inputs(), chunk_size=4))
    assert [item.index for item in items] == list(range(5))
    assert [item.output for item in items] == ["A", "B", "C", "D", None]
    assert [type(item.error) for item in items] == [type(None)] * 4 + [InvalidInput]
    assert [item.batch_size for item in items] == [4] * 4 + [0]
    assert (_results(client), waiting(client.redis, QUEUE)) == ([], [])


def test_a_mapping_that_is_left_early_takes_back_what_waits_and_drops_what_runs(client: Client) -> None:
    running: list[Message] = []

    def inputs() -> Iterator[dict[str, str]]:
        yield from [GOOD] * 3
        _work(client)
        running.append(take(client.redis, QUEUE))
        yield from [GOOD] * 10

    items = client.map("mill", inputs(), chunk_size=1, max_chunks=5)
    next(items)
    answer(client.app, running[0], _rows(running[0]))
    items.close()
    assert waiting(client.redis, QUEUE) == []
    assert _results(client) == []


def test_closing_frees_the_connections_that_wait_for_results(client: Client, url: str, settings: Settings) -> None:
    def listening() -> set[bytes]:
        return set(client.redis.pubsub_channels("headrace:notify:*"))

    before = listening()
    with Client(url, settings=settings) as other:
        other.pending("job-1").done()
        (channel,) = wait_until(lambda: listening() - before)
    wait_until(lambda: channel not in listening())


@pytest.mark.parametrize(
    "act",
    [
        lambda client: client.submit("mill", GOOD),
        lambda client: client.pending("job").result(timeout=1),
        lambda client: client.pending("job").cancel(),
        lambda client: client.models(),
        lambda client: list(client.map("mill", [GOOD])),
    ],
)
def test_when_redis_has_gone_every_call_says_so_within_seconds(
    tmp_path: Path, settings: Settings, act: Callable[[Client], object]
) -> None:
    with unguarded(tmp_path) as (url, server), Client(url, settings=settings) as client:
        client.registry.publish({"mill": MILL})
        client.submit("mill", GOOD)
        server.kill()
        server.wait()
        begin = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            act(client)
        assert time.monotonic() - begin < 10


def test_a_mapping_gives_up_on_a_redis_that_has_gone_for_good(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.broker.waiter._PATIENCE_SECONDS", 1.5)
    with unguarded(tmp_path) as (url, server), Client(url, settings=settings) as client:
        client.registry.publish({"mill": MILL})

        def inputs() -> Iterator[dict[str, str]]:
            yield GOOD
            server.kill()
            server.wait()

        with pytest.raises(BrokerUnavailable, match="has not answered for"):
            list(client.map("mill", inputs(), chunk_size=1))
