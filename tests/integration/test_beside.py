"""One worker, two models: while one is loaded the other's jobs are answered, and a death then costs none."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.client import Client
from tests.integration.cluster import Cluster, forget_settings
from tests.utils.plugins import write_plugin

pytestmark = pytest.mark.integration

MIB = 2**20
#: Loads slowly, piece by piece; dies of it as often as the file `deaths` has letters.
SOURCE = """
import os
import time
from pathlib import Path

import torch

from headrace.sdk import ModelPluginInterface, Outcome
from headrace.sdk.messages import Footprint

DEATHS = Path({deaths!r})

class Upper(ModelPluginInterface):
    loads_beside = True

    def load_model(self):
        self.weights = []
        for _ in range(8):
            self.weights.append(torch.ones(2**20, dtype=torch.uint8))
            time.sleep({pause})
        if {pause} and (letters := DEATHS.read_text()):
            DEATHS.write_text(letters[1:])
            os._exit(3)

    def infer(self, batch):
        torch.empty(len(batch) * 2**18, dtype=torch.uint8)
        time.sleep(0.01)
        return [Outcome(output=item.data["text"].upper()) for item in batch]

    def cleanup(self):
        self.weights = None

    def footprint(self):
        return Footprint(weights=8 * 2**20)
"""


@pytest.fixture
def deaths(settings: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that tells how often loading `slow` kills, on a device that has room for both models."""
    deaths = tmp_path / "deaths"
    deaths.touch()
    for name, pause in (("quick", 0.0), ("slow", 0.4)):
        write_plugin(tmp_path / "plugins" / name, source=SOURCE.format(deaths=str(deaths), pause=pause))
    monkeypatch.setenv("HEADRACE_PLUGIN_PATH", str(tmp_path / "plugins"))
    monkeypatch.setenv("HEADRACE_VIRTUAL_MEMORY", "32MiB")
    forget_settings()
    yield deaths
    monkeypatch.undo()
    forget_settings()


def test_jobs_are_answered_while_another_model_is_loaded(deaths: Path, client: Client, cluster: Cluster) -> None:
    with cluster.workers("quick", "slow"):
        # What their batches need is learned before.
        assert client.submit("quick", {"text": "first"}).result(timeout=30) == "FIRST"
        slow = client.submit("slow", {"text": "slow"})
        answered = 0
        while not slow.done():
            begin = time.monotonic()
            assert client.submit("quick", {"text": "a"}).result(timeout=30) == "A"
            assert time.monotonic() - begin < 1.5
            answered += 1
        assert slow.result(timeout=30) == "SLOW"
    # The load takes 3.2 s.
    assert answered >= 10
    assert "memory ended" not in cluster.log.read_text()


def test_an_engine_that_dies_while_it_does_both_costs_no_job(deaths: Path, client: Client, cluster: Cluster) -> None:
    deaths.write_text("xx")
    with cluster.workers("quick", "slow"):
        assert client.submit("quick", {"text": "first"}).result(timeout=30) == "FIRST"
        slow = client.submit("slow", {"text": "slow"})
        quick = client.submit_many("quick", [{"text": str(each)} for each in range(1500)])
        assert slow.result(timeout=60) == "SLOW"
        assert [job.result(timeout=60) for job in quick] == [str(each) for each in range(1500)]
    assert cluster.log.read_text().count("exit status 3") == 2
