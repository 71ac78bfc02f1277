"""`headrace plan` and the workers agree: what is forecast is what they do."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.broker.embedded import EmbeddedBroker
from headrace.client import Client
from headrace.memory.blocks import read_blocks
from headrace.settings import Settings
from tests.integration.cluster import Cluster, forget_settings
from tests.integration.commands import headrace
from tests.utils.language_models import write_model
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.usefixtures("settings")

MIB = 2**20
INPUTS = [{"ids": list(range(1, length))} for length in (3, 9, 20, 64)]
HUNGRY = {"weight_bytes": 8 * MIB, "linear": MIB // 4, "largest_sample": 4}


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets the models' tables, and the memory of a device that is not there."""

    def configure(models: dict[str, Any], memory: int) -> None:
        monkeypatch.setenv("HEADRACE_MODELS", json.dumps(models))
        monkeypatch.setenv("HEADRACE_VIRTUAL_MEMORY", str(memory))
        forget_settings()

    yield configure
    monkeypatch.undo()
    forget_settings()


@contextmanager
def serving(settings: Settings, folder: Path, model: str) -> Iterator[Client]:
    """A worker of a model, and a client."""
    with (
        EmbeddedBroker(settings.state_dir, bundled=True) as url,
        Client(url, settings=settings) as client,
        Cluster(client, folder / "log").workers(model),
    ):
        yield client


def test_workers_run_batches_as_large_as_the_plan_tells(settings: Settings, tmp_path: Path, configured: Any) -> None:
    configured({"hungry": HUNGRY}, 32 * MIB)
    planned = headrace("plan", "hungry", "--memory", "32MiB", "--json")
    assert planned.returncode == 0, planned.stderr
    told = json.loads(planned.stdout)
    assert told["weights"] == 8 * MIB
    (batch,) = told["batches"]
    assert (batch["size"], batch["limit"]) == (4, "memory")
    with serving(settings, tmp_path, "hungry") as client:
        jobs = client.submit_many("hungry", [{"size": 4}] * 400)
        largest = max(job.result(timeout=30)["batch"] for job in jobs)
    # Of 28.8 MiB that may be used, the weights leave room for 20 items; the plan is cautious before it has learned.
    assert 10 <= batch["items"] <= largest <= 20


def test_a_model_of_twice_the_memory_is_paged_and_answers_the_same(
    settings: Settings, tmp_path: Path, configured: Any
) -> None:
    folder = write_model(tmp_path / "model")
    # Sums of floats depend on the shape of a batch.
    config = {"weights": {"path": str(folder)}, "dtype": "float32", "max_batch_size": 1}
    answers, notes = [], []
    for memory in (2**40, sum(read_blocks(folder, itemsize=4)) // 2):
        configured({"paged": config}, memory)
        with serving(settings, tmp_path, "paged") as client:
            outcomes = list(client.map("paged", INPUTS))
            assert [outcome.error for outcome in outcomes] == [None] * len(INPUTS)
            answers.append([outcome.output for outcome in outcomes])
            notes.append(wait_until(partial(_note, client), 10))
    assert all((one == other).all() for one, other in zip(*answers, strict=True))
    assert "on disk" not in notes[0]
    assert "on disk" in notes[1]
    assert not list((settings.state_dir / "offload").glob("*"))


def test_weights_that_transformers_loads_are_counted(tmp_path: Path, configured: Any) -> None:
    folder = write_model(tmp_path / "model")
    configured({"paged": {"weights": {"path": str(folder)}, "dtype": "float32"}}, 2**40)
    planned = headrace("plan", "paged", "--memory", "1GiB", "--json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["weights"] == pytest.approx(sum(read_blocks(folder, itemsize=4)), rel=0.02)


def _note(client: Client) -> str:
    """What the worker says of the model, once it says that it is loaded."""
    served = [worker.served["paged"] for worker in client.registry.workers() if "paged" in worker.served]
    return f"{served[0]['state']} {served[0]['note']}" if served and served[0]["state"] == "READY" else ""


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (("hungry", "--memory", "4MiB"), 1, "error [model_too_large]: model hungry does not fit: its weights take 8.0"),
    (("hungry", "--memory", "plenty"), 2, "error [invalid_config]: --memory 'plenty' is no size"),
    (("hungry", "--memory", "16EiB"), 2, "error [invalid_config]: --memory '16EiB' is no size"),
    (("hungry", "--memory", "0"), 2, "error [invalid_config]: --memory '0' is no size"),
    (("hungry", "--memory", "1e30GiB"), 2, "error [invalid_config]: --memory '1e30GiB' is no size"),
    (("hungry", "--device", "cpu:0,cpu:1"), 2, "error [invalid_config]: --device cpu:0,cpu:1 names 2: plan for one"),
    (("paged",), 1, "error [weights_error]: model paged has no weights"),
    (("hungry", "--memory", "-1"), 2, "error [invalid_config]: --memory '-1' is no size"),
    (("nothing",), 2, "error [unknown_model]: unknown model 'nothing'"),
    (("hungry", "--device", "cuda:7"), 2, "error [invalid_config]: this machine has no cuda:7"),
])  # fmt: skip
def test_what_cannot_be_planned_is_said_in_one_sentence(
    configured: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    configured({"hungry": HUNGRY}, 2**40)
    done = headrace("plan", *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
