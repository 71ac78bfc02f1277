"""Workers of a run: its own only if nobody else serves the model."""

from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from headrace.broker.registry import WorkerRecord
from headrace.bulk.options import RunOptions
from headrace.bulk.workers import Workers
from headrace.client import Client
from headrace.errors import SetupFailed
from headrace.launcher import Launcher
from headrace.settings import Settings
from tests.utils.clock import Clock
from tests.utils.servers import unguarded

PLUGINS = Path(__file__).parents[2] / "plugins"
FAULTY = RunOptions(model="faulty", chunk_size=2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Popen[bytes]]]:
    """A server that may be killed."""
    with unguarded(tmp_path) as server:
        yield server


@pytest.fixture
def client(server: tuple[str, Popen[bytes]], tmp_path: Path) -> Iterator[Client]:
    """A client of the server."""
    settings = Settings(state_dir=tmp_path, redis_url=server[0], plugin_path=[PLUGINS], broker="bundled")
    with Client(settings=settings) as client:
        yield client


@pytest.fixture
def served(client: Client) -> Client:
    """A client of a server that has a worker, as far as one can tell."""
    client.registry.beat(WorkerRecord(name="cpu0@afar", models=["faulty"]))
    return client


class Dying(Launcher):
    """A launcher whose workers die as often as the test says."""

    def __init__(self) -> None:
        super().__init__("redis://nowhere", [])
        self.deaths = 0
        self.closed = False

    @property
    def restarts(self) -> int:
        return self.deaths

    def close(self) -> None:
        self.closed = True


def test_a_model_that_is_served_needs_no_worker_of_our_own(served: Client, tmp_path: Path) -> None:
    workers = Workers(served, FAULTY, tmp_path / "log", note=print)
    workers.ensure()
    assert workers._own is None
    workers.note_progress()
    workers.close()


def test_each_death_of_an_engine_is_told_once(served: Client, tmp_path: Path) -> None:
    notes: list[str] = []
    workers = Workers(served, FAULTY, tmp_path / "log", note=notes.append)
    for deaths in (2, 2, 3, 3, 5):
        record = WorkerRecord(name="cpu0@afar", models=["faulty"], engine_restarts=deaths)
        served.registry.beat(record)
        workers.ensure()
    assert [note.split(";")[0] for note in notes] == ["engine deaths so far: 1", "engine deaths so far: 3"]


@pytest.fixture
def own(client: Client, tmp_path: Path) -> tuple[Workers, Dying]:
    workers, own = Workers(client, FAULTY, tmp_path / "log", note=print), Dying()
    workers._own = own
    return workers, own


def test_workers_that_keep_dying_without_an_item_end_the_run(own: tuple[Workers, Dying]) -> None:
    workers, launcher = own
    launcher.deaths = 4
    workers.ensure()
    launcher.deaths = 5
    with pytest.raises(SetupFailed, match=r"no worker stays up for faulty: see .*log"):
        workers.ensure()


def test_an_item_between_deaths_forgives_them(own: tuple[Workers, Dying]) -> None:
    workers, launcher = own
    for _ in range(20):
        launcher.deaths += 4
        workers.ensure()
        workers.note_progress()


def test_our_own_workers_end_with_the_run(own: tuple[Workers, Dying]) -> None:
    workers, launcher = own
    workers.close()
    assert launcher.closed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def theirs(served: Client, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    """The workers of a run that has seen somebody else's; one of its own says so by an error."""

    def start(_: Workers) -> None:
        raise SetupFailed("own")

    monkeypatch.setattr(Workers, "_start", start)
    workers = Workers(served, FAULTY, tmp_path / "log", note=print, clock=clock)
    workers.ensure()
    return workers


def test_others_workers_that_are_gone_get_time_to_come_back(theirs: Workers, served: Client, clock: Clock) -> None:
    served.registry.withdraw("cpu0@afar")
    clock.now += 19
    theirs.ensure()
    clock.now += 1
    with pytest.raises(SetupFailed, match="own"):
        theirs.ensure()


def test_a_redis_that_is_away_is_waited_for_and_so_are_its_workers(
    theirs: Workers, server: tuple[str, Popen[bytes]], served: Client, clock: Clock, tmp_path: Path
) -> None:
    _, process = server
    process.kill()
    process.wait()
    clock.now += 50
    theirs.ensure()
    with unguarded(tmp_path):
        clock.now += 19
        theirs.ensure()
        clock.now += 1
        with pytest.raises(SetupFailed, match="own"):
            theirs.ensure()
