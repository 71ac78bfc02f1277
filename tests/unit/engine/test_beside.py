"""A model is loaded beside the batches of another: those go on, and whatever the load does is its own affair."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.engine import arrivals, loader
from headrace.engine.messages import Ended, Loaded, LoadFailed, Message, Outcomes, Ready, Started
from headrace.plugins.catalog import Catalog, FoundPlugin
from headrace.plugins.manager import PluginManager
from headrace.sdk import Device, PluginManifest
from headrace.sdk.messages import Footprint
from tests.utils.serving import ServedEngine
from tests.utils.uppers import Beside, Factory, Upper
from tests.utils.waiting import wait_until
from tests.utils.windows import window_of


class Gate:
    """A load that ends when the test says so, once it was reached."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        self.error = error
        self.threads: list[str] = []

    def __call__(self) -> None:
        """Wait the first time; then pass."""
        self.threads.append(threading.current_thread().name)
        if len(self.threads) == 1:
            self.reached.set()
            assert self.go.wait(10)
            if self.error:
                raise self.error


@pytest.fixture
def plugins() -> dict[str, Upper]:
    return {"a": Upper({}), "b": Beside({}), "c": Beside({})}


@pytest.fixture
def engine(plugins: dict[str, Upper]) -> Iterator[ServedEngine]:
    """One that has model a on its device."""
    manifests = [PluginManifest(name=name, version="1", entry_point="a:B", task="t") for name in plugins]
    found = {each.name: FoundPlugin(manifest=each, folder=Path("/nowhere"), root=None) for each in manifests}
    with ServedEngine(PluginManager(Catalog(plugins=found), Factory(plugins), Device("cpu"))) as engine:
        engine.hear(Ready)
        engine.send(window_of((0, "x"), model="a"))
        engine.hear(Ended, 3)
        yield engine


def _gate(plugins: dict[str, Upper], error: BaseException | None = None) -> Gate:
    gate = Gate(error)
    plugins["b"].on["load"] = gate
    return gate


def _answers(messages: Sequence[Message]) -> dict[int, Any]:
    rows = [row for message in messages if isinstance(message, Outcomes) for row in message.outcomes]
    return {item_id: error["code"] if error else output for item_id, output, error in rows}


def test_batches_are_answered_while_another_model_is_loaded(engine: ServedEngine, plugins: dict[str, Upper]) -> None:
    gate = _gate(plugins)
    engine.send(window_of((1, "y"), model="b"))
    assert gate.reached.wait(10)
    for number in range(2, 5):
        engine.send(window_of((number, "x"), model="a"))
        assert _answers(engine.hear(Outcomes)) == {number: "X"}
    # What would have to be loaded waits until one knows what is left.
    engine.send(window_of((9, "z"), model="c"))
    gate.go.set()
    heard = engine.hear(Outcomes, 2)
    assert _answers(heard) == {1: "Y", 9: "Z"}
    assert next(each for each in heard if isinstance(each, Loaded)).model == "b"
    assert gate.threads == ["load"]


def test_a_plugin_that_does_not_allow_it_is_loaded_with_nothing_beside_it(
    engine: ServedEngine, plugins: dict[str, Upper]
) -> None:
    plugins["b"].weights = 0
    gate = _gate(plugins)
    engine.send(window_of((1, "y"), model="b"))
    assert gate.reached.wait(10)
    gate.go.set()
    assert _answers(engine.hear(Outcomes)) == {1: "Y"}
    assert gate.threads == ["engine"]


def test_after_a_death_beside_a_load_nothing_runs_beside_the_next_one(
    engine: ServedEngine, plugins: dict[str, Upper]
) -> None:
    gate = _gate(plugins)
    gate.go.set()
    engine.send(window_of((1, "y"), model="b", load_alone=True))
    assert _answers(engine.hear(Outcomes)) == {1: "Y"}
    assert gate.threads == ["engine"]


def test_a_load_that_fails_fails_its_own_items(engine: ServedEngine, plugins: dict[str, Upper]) -> None:
    gate = _gate(plugins, ValueError("no such weights"))
    engine.send(window_of((1, "y"), model="b"))
    assert gate.reached.wait(10)
    engine.send(window_of((2, "x"), model="a"))
    assert _answers(engine.hear(Outcomes)) == {2: "X"}
    gate.go.set()
    heard = engine.hear(Outcomes)
    assert _answers(heard) == {1: "setup_failed"}
    assert "no such weights" in next(each for each in heard if isinstance(each, LoadFailed)).reason
    assert plugins["b"].log == ["load", "cleanup"]


def test_a_model_that_cannot_be_measured_once_it_is_loaded_is_refused_and_the_engine_goes_on(
    engine: ServedEngine, plugins: dict[str, Upper], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> None:
        def footprint() -> Footprint:
            raise ValueError("no idea")

        monkeypatch.setattr(plugins["b"], "footprint", footprint)

    plugins["b"].on["load"] = breaks
    engine.send(window_of((1, "y"), model="b"), window_of((2, "x"), model="a"))
    heard = engine.hear(Outcomes, 2)
    assert _answers(heard) == {1: "setup_failed", 2: "X"}
    assert "no idea" in next(each for each in heard if isinstance(each, LoadFailed)).reason
    assert plugins["b"].log == ["load", "cleanup"]


def test_a_load_for_which_memory_ends_is_tried_with_nothing_beside_it(
    engine: ServedEngine, plugins: dict[str, Upper]
) -> None:
    gate = _gate(plugins, MemoryError("Unable to allocate 2.00 KiB"))
    gate.go.set()
    engine.send(window_of((1, "y"), model="b"))
    heard = engine.hear(Outcomes)
    assert _answers(heard) == {1: "Y"}
    assert not any(isinstance(each, LoadFailed) for each in heard)
    assert gate.threads == ["load", "engine"]
    assert plugins["b"].log[:3] == ["load", "cleanup", "load"]


def test_a_stage_names_the_load_until_it_ends(engine: ServedEngine, plugins: dict[str, Upper]) -> None:
    gate = _gate(plugins)
    engine.send(window_of((1, "y"), model="b"))
    assert gate.reached.wait(10)
    engine.send(window_of((2, "x"), model="a"))
    beside = [each for each in engine.hear(Outcomes) if isinstance(each, Started | Ended)]
    assert beside[-4:] == [
        Started(stage="load", model="b", item_ids=[1]),
        Started(stage="prepare", model="a", item_ids=[2]),
        Ended(stage="prepare"),
        Started(stage="infer", model="a", item_ids=[2]),
    ]
    gate.go.set()


def test_without_a_thread_a_model_is_loaded_all_the_same(
    engine: ServedEngine, plugins: dict[str, Upper], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = _gate(plugins)
    gate.go.set()

    def no_thread(*_: object, **__: object) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(loader.threading, "Thread", no_thread)
    engine.send(window_of((1, "y"), model="b"), window_of((2, "x"), model="a"))
    assert _answers(engine.hear(Outcomes, 2)) == {1: "Y", 2: "X"}
    assert gate.threads == ["engine"]


@pytest.mark.parametrize("ends", [True, False])
def test_an_engine_ends_while_a_model_is_loaded(
    engine: ServedEngine, plugins: dict[str, Upper], monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    monkeypatch.setattr(arrivals, "_CLOSE_SECONDS", 5.0 if ends else 0.1)
    gate = _gate(plugins)
    engine.send(window_of((1, "y"), model="b"))
    assert gate.reached.wait(10)
    engine.tell_to_end()
    if ends:
        gate.go.set()
    engine.end()
    assert plugins["a"].log[-1] == "cleanup"
    assert plugins["b"].log == (["load", "cleanup"] if ends else ["load"])
    gate.go.set()


# As of a process's main thread, it ends the process; here it ends a thread.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_the_interpreter_ends_the_engine(engine: ServedEngine, plugins: dict[str, Upper]) -> None:
    gate = _gate(plugins, SystemExit(3))
    gate.go.set()
    engine.send(window_of((1, "y"), model="b"))
    wait_until(lambda: not engine.alive)
    begun = [each for each in engine.heard_so_far() if isinstance(each, Started | Ended)]
    # Nothing has ended what is to blame.
    assert [type(each) for each in begun if each.stage == "load"][-2:] == [Started, Started]
