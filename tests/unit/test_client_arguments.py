"""Client: what a caller without types, or with a closed client, hears."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace.broker.embedded import EmbeddedBroker
from headrace.client import Client
from headrace.errors import ClientClosed, ConfigError, HeadraceError, InvalidInput, UnknownModel
from headrace.settings import Settings

GOOD = {"text": "grain"}


def _map(client: Client, *given: Any, **more: Any) -> object:
    return next(client.map(*given, **more))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a real server at which no worker serves."""
    settings = Settings(state_dir=tmp_path_factory.mktemp("client"), broker="bundled", redis_url=None)
    manifest = {"name": "mill", "version": "1", "entry_point": "mill.plugin:Mill", "task": "grind"}
    with EmbeddedBroker(settings.state_dir, bundled=True) as url, Client(url, settings=settings) as client:
        client.registry.publish({"mill": manifest})
        yield client


@pytest.fixture
def closed(client: Client) -> Client:
    """One that was closed."""
    with Client(client.url, settings=client.settings) as closed:
        pass
    return closed


@pytest.mark.parametrize("act", [Client.submit, Client.submit_many, _map])
@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        ({"model": None}, UnknownModel, "model must be the name of one, not None"),
        ({"model": ["mill"]}, UnknownModel, "model must be"),
        ({"params": [1]}, InvalidInput, "params must be"),
        ({"params": []}, InvalidInput, "params must be"),
        ({"priority": "urgent"}, InvalidInput, "priority must be one of 'high', 'normal', 'low'"),
    ],
)
def test_each_call_names_the_argument_that_is_none(
    client: Client, act: Callable[..., object], arguments: dict[str, Any], kind: type[HeadraceError], told: str
) -> None:
    given = {"model": "mill", **arguments}
    with pytest.raises(kind, match=told):
        act(client, given.pop("model"), [GOOD] if act is not Client.submit else GOOD, **given)
    assert client.redis.llen("infer.mill") == 0


@pytest.mark.parametrize(
    "arguments", [{"expires": "1"}, {"deadline": "1"}, {"idempotency_key": 3}, {"idempotency_key": ""}]
)
def test_a_submit_names_the_argument_that_is_none(client: Client, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"{next(iter(arguments))} must be"):
        client.submit("mill", GOOD, **arguments)
    assert client.redis.llen("infer.mill") == 0


@pytest.mark.parametrize("arguments", [{"chunk_size": "2"}, {"max_chunks": 1.5}, {"chunk_size": 0}])
def test_a_mapping_names_the_number_that_is_none(client: Client, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(arguments))} must be"):
        next(client.map("mill", [GOOD], **arguments))


def test_a_manifest_of_nothing_is_refused(client: Client) -> None:
    with pytest.raises(UnknownModel):
        client.manifest(None)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    "act",
    [
        lambda client: client.submit("mill", GOOD),
        lambda client: client.submit_many("mill", [GOOD]),
        lambda client: next(client.map("mill", [GOOD])),
        lambda client: client.pending("job").result(),
        lambda client: client.pending("job").done(),
    ],
)
def test_a_closed_client_takes_nothing(client: Client, closed: Client, act: Callable[[Client], object]) -> None:
    with pytest.raises(ClientClosed, match="the client is closed"):
        act(closed)
    assert client.redis.llen("infer.mill") == 0


def test_a_job_of_a_closed_client_can_be_asked_of_another(client: Client) -> None:
    with Client(client.url, settings=client.settings) as first:
        job = first.submit("mill", GOOD)
        assert not job.done()
    with pytest.raises(ClientClosed, match=job.id):
        job.result()
    assert client.redis.lpop("infer.mill")
    assert not client.pending(job.id).done()


def test_a_mapping_that_outlives_its_client_takes_back_what_waits(client: Client) -> None:
    def inputs() -> Iterator[dict[str, str]]:
        yield GOOD
        first.close()
        yield GOOD

    with Client(client.url, settings=client.settings) as first:
        items = first.map("mill", inputs(), chunk_size=1)
        with pytest.raises(ClientClosed):
            next(items)
    assert client.redis.llen("infer.mill") == 0
