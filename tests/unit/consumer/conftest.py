"""A real broker and an app with two models, as a worker has them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery, _state
from celery.app.trace import build_tracer, reset_worker_optimizations, setup_worker_optimizations
from celery.worker import state

from headrace.broker.app import make_app
from headrace.broker.connection import connect
from headrace.broker.embedded import EmbeddedBroker
from headrace.consumer.lane import WINDOWS
from headrace.consumer.tasks import register_tasks
from headrace.engine.rate import FIRST_WINDOW
from headrace.settings import Settings
from tests.integration.cluster import isolated_settings
from tests.utils.requests import Desk
from tests.utils.scripted import PoolWorker


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the module's own."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker"), bundled=True) as url:
        yield url


@pytest.fixture(scope="module")
def app(url: str) -> Iterator[Celery]:
    """An app set up as a worker sets up its own."""
    app, default, current = make_app(url, Settings()), _state.default_app, _state._tls.current_app
    register_tasks(app, {"m": {"type": "object"}, "other": {}, "faulty": {}})
    setup_worker_optimizations(app, "tests")
    for name, task in app.tasks.items():
        task.__trace__ = build_tracer(name, task, app.loader, "tests", app=app)
    yield app
    reset_worker_optimizations(app)
    _state.default_app, _state._tls.current_app = default, current
    app.close()


@pytest.fixture
def desk(app: Celery, url: str) -> Iterator[Desk]:
    """A desk on empty queues, in a worker that has seen nothing."""
    client = connect(url, Settings())
    client.flushdb()
    state.reset_state()
    desk = Desk(app, client)
    yield desk
    desk.close()
    client.close()


@pytest.fixture
def worker(desk: Desk, tmp_path: Path) -> Iterator[PoolWorker]:
    """A worker with an idle engine."""
    with isolated_settings(tmp_path):
        worker = PoolWorker(desk)
        yield worker
        worker.close()


@pytest.fixture
def busy(worker: PoolWorker) -> PoolWorker:
    """A worker whose engine has all that it takes, so that jobs of the model wait."""
    worker.take(["busy"] * WINDOWS * FIRST_WINDOW)
    return worker
