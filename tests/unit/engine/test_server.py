"""EngineServer: every item is answered, and the worker is told of each stage before it begins."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.engine.messages import Cancel, Ended, Evicted, Loaded, Message, Outcomes, Ready, Started, Window
from headrace.engine.process import EngineProcess
from headrace.errors import HeadraceError
from headrace.plugins.catalog import Catalog, FoundPlugin
from headrace.plugins.manager import PluginManager
from headrace.sdk import Device, PluginManifest
from headrace.sdk.testing import RecordingAttention
from headrace.settings import child_environment
from tests.utils.serving import ServedEngine
from tests.utils.uppers import Factory, Upper
from tests.utils.waiting import wait_until
from tests.utils.windows import window_of

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def plugins() -> dict[str, Upper]:
    return {"a": Upper({}), "b": Upper({})}


@pytest.fixture
def engine(plugins: dict[str, Upper]) -> Iterator[ServedEngine]:
    catalog = Catalog(plugins={name: _found(name) for name in plugins})
    with ServedEngine(PluginManager(catalog, Factory(plugins), Device("cpu"))) as engine:
        assert engine.hear(Ready) == [Ready()]
        yield engine


def _found(name: str) -> FoundPlugin:
    manifest = PluginManifest(name=name, version="1", entry_point="a:B", task="t")
    return FoundPlugin(manifest=manifest, folder=Path("/nowhere"), root=None)


def _window(model: str, *rows: tuple[int, str], deadline: float | None = None, expires: float | None = None) -> Window:
    return window_of(*rows, model=model, deadline=deadline, expires=expires)


def _answers(messages: Sequence[Message]) -> dict[int, Any]:
    """Each item's output, or its error's code."""
    rows = [row for message in messages if isinstance(message, Outcomes) for row in message.outcomes]
    assert len({row[0] for row in rows}) == len(rows), "an item was answered twice"
    return {item_id: error["code"] if error else output for item_id, output, error in rows}


def _raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@contextlib.contextmanager
def _busy(engine: ServedEngine, plugin: Upper) -> Iterator[None]:
    """An engine that runs item 0 of model a for as long as the block lasts."""
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go.wait(10)

    plugin.on["busy"] = work
    engine.send(_window("a", (0, "busy")))
    assert begun.wait(10)
    try:
        yield
    finally:
        go.set()


def test_each_stage_is_announced_before_it_begins_and_ended_after(engine: ServedEngine) -> None:
    engine.send(_window("a", (7, "x"), (8, "y")))
    heard = engine.hear(Ended, 3)
    told = [(type(each).__name__, getattr(each, "stage", None)) for each in heard]
    assert told == [
        ("Started", "load"),
        ("Ended", "load"),
        ("Loaded", None),
        ("Started", "prepare"),
        ("Ended", "prepare"),
        ("Started", "infer"),
        ("Outcomes", None),
        ("Ended", "infer"),
    ]
    assert all(each.item_ids == [7, 8] for each in heard if isinstance(each, Started))
    assert _answers(heard) == {7: "X", 8: "Y"}


def test_a_loaded_model_tells_its_limits(engine: ServedEngine) -> None:
    engine.send(_window("a", (7, "x")))
    loaded = engine.hear(Loaded)[-1]
    assert isinstance(loaded, Loaded)
    assert (loaded.model, loaded.max_batch_size, loaded.max_batch_tokens, loaded.batch_time_limit) == ("a", 8, 99, 5.0)


def test_a_loaded_model_tells_its_attention(engine: ServedEngine, plugins: dict[str, Upper]) -> None:
    plugins["a"].attention = RecordingAttention()
    plugins["a"].attention.reason = "why"
    engine.send(_window("a", (7, "x")), _window("b", (8, "y")))
    told = {each.model: each.attention for each in engine.hear(Loaded, 2) if isinstance(each, Loaded)}
    assert told == {"a": "recording (why)", "b": ""}


def test_a_model_that_nobody_needs_leaves_an_engine_that_is_busy_with_another(
    engine: ServedEngine, plugins: dict[str, Upper]
) -> None:
    plugins["a"].keep_alive = 0.05
    engine.send(_window("a", (0, "x")))
    heard, number, until = engine.hear(Outcomes), 1, time.monotonic() + 5
    while not any(isinstance(each, Evicted) for each in heard) and time.monotonic() < until:
        # Always another window waits.
        engine.send(_window("b", (number, "y")), _window("b", (number + 1, "y")))
        heard = engine.hear(Outcomes, 1)
        number += 2
    assert Evicted(model="a") in heard


def test_a_model_is_used_until_its_batches_end(engine: ServedEngine, plugins: dict[str, Upper]) -> None:
    plugins["a"].keep_alive = 2.0
    plugins["a"].on["slow"] = lambda: time.sleep(2.1)
    engine.send(_window("a", (0, "slow")))
    engine.hear(Outcomes)
    engine.send(_window("b", (1, "y")))
    assert not any(isinstance(each, Evicted) for each in engine.hear(Loaded))


def test_what_a_second_model_takes_is_looked_at_in_a_stage_that_may_not_last_for_ever(engine: ServedEngine) -> None:
    engine.send(_window("a", (0, "x")))
    engine.hear(Ended, 3)
    engine.send(_window("b", (1, "y"), (2, "y")))
    heard = [each for each in engine.hear(Loaded) if isinstance(each, Started | Ended)]
    assert heard[0] == Started(stage="load", model="b", item_ids=[1, 2])
    assert [each.stage for each in heard] == ["load"] * 4


def test_a_resident_model_is_not_loaded_again(engine: ServedEngine, plugins: dict[str, Upper]) -> None:
    engine.send(_window("a", (0, "x")))
    engine.hear(Ended, 3)
    for number in range(2):
        engine.send(_window("a", (number, "x")))
        stages = [each.stage for each in engine.hear(Ended, 2) if isinstance(each, Started)]
        assert stages == ["prepare", "infer"]
    assert plugins["a"].log.count("load") == 1


def test_windows_are_prepared_while_a_batch_runs_and_share_the_next_one(
    engine: ServedEngine, plugins: dict[str, Upper]
) -> None:
    with _busy(engine, plugins["a"]):
        engine.send(_window("a", (1, "x")), _window("a", (2, "y")))
        assert not _answers(engine.hear(Ended, 4))
        assert plugins["a"].log[-2:] == ["prepare x", "prepare y"]
    assert _answers(engine.hear(Outcomes, 2)) == {0: "BUSY", 1: "X", 2: "Y"}
    assert plugins["a"].log[-1] == "infer x y"


def test_an_item_that_raises_fails_alone(engine: ServedEngine, plugins: dict[str, Upper]) -> None:
    plugins["a"].on["bad"] = _raising(ValueError("no"))
    engine.send(_window("a", (1, "x"), (2, "bad"), (3, "y")))
    assert _answers(engine.hear(Outcomes)) == {1: "X", 2: "inference_failed", 3: "Y"}


@pytest.mark.parametrize(("model", "code"), [("a", "setup_failed"), ("nobody", "unknown_model")])
def test_a_model_that_cannot_be_loaded_fails_its_items_and_no_others(
    engine: ServedEngine, plugins: dict[str, Upper], model: str, code: str
) -> None:
    plugins["a"].on["load"] = _raising(RuntimeError("no such weights"))
    for number in range(2):
        engine.send(_window(model, (number, "x")), _window("b", (number + 10, "y")))
        heard = engine.hear(Outcomes, 2)
        assert _answers(heard) == {number: code, number + 10: "Y"}
        assert not any(isinstance(each, Loaded) and each.model == model for each in heard)


def test_what_the_framework_cannot_handle_fails_the_window_and_the_engine_goes_on(
    engine: ServedEngine, plugins: dict[str, Upper]
) -> None:
    class Unsendable(HeadraceError):
        def to_wire(self) -> dict[str, Any]:
            raise RuntimeError("not even its code")

    plugins["a"].on["bad"] = _raising(Unsendable())
    engine.send(_window("a", (1, "x"), (2, "bad")), _window("a", (3, "y")))
    assert _answers(engine.hear(Outcomes, 2)) == {1: "inference_failed", 2: "inference_failed", 3: "Y"}


def test_cancelled_late_and_expired_items_do_not_run(engine: ServedEngine, plugins: dict[str, Upper]) -> None:
    past, future = time.time() - 1, time.time() + 1000
    engine.send(Cancel(item_ids=[1]), _window("a", (1, "x"), (2, "y"), deadline=future, expires=future))
    engine.send(_window("a", (3, "late"), deadline=past), _window("a", (4, "expired"), expires=past))
    expected = {1: "revoked", 2: "Y", 3: "deadline_exceeded", 4: "revoked"}
    assert _answers(engine.hear(Outcomes, 4)) == expected
    assert [each for each in plugins["a"].log if each.startswith("infer")] == ["infer y"]


def test_shutdown_finishes_the_batch_cleans_up_and_leaves_what_waits(
    engine: ServedEngine, plugins: dict[str, Upper]
) -> None:
    with _busy(engine, plugins["a"]):
        engine.send(_window("a", (1, "x")))
        engine.hear(Ended, 3)
        engine.tell_to_end()
    engine.end()
    assert [each for each in plugins["a"].log if not each.startswith("prepare")] == ["load", "infer busy", "cleanup"]


@pytest.mark.parametrize("ending", ["closed", "garbage"])
def test_an_engine_ends_at_once_when_its_worker_is_gone_or_raves(ending: str) -> None:
    process = EngineProcess("cpu:0", child_environment(HEADRACE_PLUGIN_PATH=str(PLUGINS)))
    process.start()
    window = window_of((1, {"text": "a", "do": "sleep", "seconds": 300}), model="faulty")
    process.send(window.encode())
    wait_until(lambda: any(getattr(each, "stage", None) == "infer" for each in process.receive()))
    if ending == "garbage":
        process.send(b"\x07")
    else:
        process._close_sockets()
    assert process._running.wait(5) == 1
    process._close_sockets()
