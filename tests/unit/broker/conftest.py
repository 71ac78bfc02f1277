"""A real server that the tests of this folder share, empty at the start of each."""

from collections.abc import Iterator

import pytest
import redis
from celery import Celery

from headrace.broker.app import make_app
from headrace.broker.connection import connect
from headrace.broker.embedded import EmbeddedBroker
from headrace.settings import Settings


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a state folder of the tests' own."""
    return Settings(state_dir=tmp_path_factory.mktemp("broker"), broker="bundled", redis_url=None)


@pytest.fixture(scope="session")
def url(settings: Settings) -> Iterator[str]:
    """Where the server listens."""
    with EmbeddedBroker(settings.state_dir, bundled=True) as url:
        yield url


@pytest.fixture
def client(url: str, settings: Settings) -> Iterator[redis.Redis]:
    """A connection to the server, which is empty."""
    with connect(url, settings) as client:
        client.flushall()
        yield client


@pytest.fixture
def app(url: str, settings: Settings) -> Iterator[Celery]:
    """The Celery app on that server."""
    app = make_app(url, settings)
    yield app
    app.close()
