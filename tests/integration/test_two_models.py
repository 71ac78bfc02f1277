"""Two workers, two models, room for one of them at each: jobs wait for the worker that has their model."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.client import Client
from headrace.consumer.prefetch import SETTLE
from tests.integration.cluster import Cluster, forget_settings
from tests.utils.plugins import write_plugin
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.integration

MIB = 2**20
MODELS = ("mill", "weir")
SOURCE = """
import time
from pathlib import Path

import torch

from headrace.sdk import ModelPluginInterface, Outcome
from headrace.sdk.messages import Footprint

class Upper(ModelPluginInterface):
    def load_model(self):
        with Path({loads!r}).open("a") as loads:
            loads.write("{name}\\n")
        time.sleep(0.2)
        self.weights = torch.empty({weights}, dtype=torch.uint8)

    def infer(self, batch):
        time.sleep(0.01)
        return [Outcome(output=item.data["text"].upper()) for item in batch]

    def cleanup(self):
        self.weights = None

    def footprint(self):
        return Footprint(weights={weights})
"""


@pytest.fixture
def loads(settings: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file in which each load is noted, on devices that have room for one of the models."""
    loads = tmp_path / "loads"
    loads.touch()
    for name in MODELS:
        write_plugin(tmp_path / "plugins" / name, source=SOURCE.format(name=name, loads=str(loads), weights=8 * MIB))
    monkeypatch.setenv("HEADRACE_PLUGIN_PATH", str(tmp_path / "plugins"))
    monkeypatch.setenv("HEADRACE_VIRTUAL_MEMORY", "15MiB")
    forget_settings()
    yield loads
    monkeypatch.undo()
    forget_settings()


def _ask(client: Client, seconds: float) -> None:
    """Send one job of each model, and again once both are answered."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        jobs = [client.submit(model, {"text": model}) for model in MODELS]
        assert [job.result(timeout=60) for job in jobs] == [model.upper() for model in MODELS]


def _loads(client: Client, loads: Path, seconds: float) -> list[str]:
    before = len(loads.read_text().split())
    _ask(client, seconds)
    return loads.read_text().split()[before:]


def test_each_worker_keeps_the_model_that_it_has(loads: Path, client: Client, cluster: Cluster) -> None:
    with cluster.workers(*MODELS, count=2):
        wait_until(lambda: not _loads(client, loads, 2 * SETTLE), 30)
        assert _loads(client, loads, 5.0) == []


def test_a_model_comes_back_where_its_worker_has_gone(loads: Path, client: Client, cluster: Cluster) -> None:
    with cluster.workers(*MODELS):
        with cluster.workers(*MODELS, first=1):
            wait_until(lambda: not _loads(client, loads, 2 * SETTLE), 30)
        assert _loads(client, loads, 1.0)
