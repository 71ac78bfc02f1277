"""Fixtures of a broker, a client and workers of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.broker.embedded import EmbeddedBroker
from headrace.client import Client
from headrace.settings import Settings
from tests.integration.cluster import Cluster, isolated_settings


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings with a state folder of the test's own."""
    with isolated_settings(tmp_path) as settings:
        yield settings


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """A client of a real server on a private socket."""
    with EmbeddedBroker(settings.state_dir, bundled=True) as url, Client(url, settings=settings) as client:
        yield client


@pytest.fixture
def cluster(client: Client, tmp_path: Path) -> Iterator[Cluster]:
    """Workers on demand; their log is shown when the test fails."""
    log = tmp_path / "workers.log"
    yield Cluster(client, log)
    if log.exists():
        print(log.read_text()[-20_000:])
