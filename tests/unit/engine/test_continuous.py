"""Items that run step by step: they join, leave, make way and fail each on its own, in a real engine."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.engine.messages import Cancel, Loaded, Message, Outcomes, Progress, Ready, Started, Window
from headrace.plugins.catalog import Catalog, FoundPlugin
from headrace.plugins.manager import PluginManager
from headrace.sdk import Device, PluginManifest
from tests.utils.counters import Counter
from tests.utils.serving import ServedEngine
from tests.utils.uppers import Factory, Upper
from tests.utils.windows import window_of


@pytest.fixture
def counter() -> Counter:
    return Counter(pause=0.002)


@pytest.fixture
def engine(counter: Counter) -> Iterator[ServedEngine]:
    plugins: Any = {"count": counter, "upper": Upper({})}
    manifests = {name: PluginManifest(name=name, version="1", entry_point="a:B", task="t") for name in plugins}
    found = {name: FoundPlugin(manifest=each, folder=Path("/nowhere"), root=None) for name, each in manifests.items()}
    with ServedEngine(PluginManager(Catalog(plugins=found), Factory(plugins), Device("cpu"))) as engine:
        engine.hear(Ready)
        yield engine


def _window(*rows: tuple[int, str], **terms: Any) -> Window:
    return window_of(*rows, model="count", **terms)


def _answers(said: list[Message]) -> dict[int, Any]:
    rows = [row for message in said if isinstance(message, Outcomes) for row in message.outcomes]
    assert len({row[0] for row in rows}) == len(rows), "an item was answered twice"
    return {item_id: error["code"] if error else output for item_id, output, error in rows}


def test_an_item_that_comes_later_and_is_short_is_answered_first(engine: ServedEngine) -> None:
    engine.send(_window((1, "long 400")))
    engine.hear(Started, 2)
    engine.send(_window((2, "short 3")))
    first = engine.hear(Outcomes)
    assert _answers(first) == {2: "short 3"}
    assert _answers(engine.hear(Outcomes)) == {1: "long 400"}


def test_the_worker_hears_how_many_run_at_once_and_how_far_they_are(engine: ServedEngine) -> None:
    engine.send(_window((1, "long 800")))
    said = engine.hear(Progress)
    assert [each.concurrency for each in said if isinstance(each, Loaded)] == [4]
    (told,) = [each.done for each in said if isinstance(each, Progress)]
    assert 10 < told[1] < 800
    engine.send(Cancel(item_ids=[1]))
    engine.hear(Outcomes)


def test_one_that_nobody_wants_leaves_with_the_next_step(engine: ServedEngine, counter: Counter) -> None:
    engine.send(_window((1, "long 100000"), (2, "other 300")))
    engine.hear(Started, 2)
    engine.send(Cancel(item_ids=[1]))
    assert _answers(engine.hear(Outcomes)) == {1: "revoked"}
    assert 1 not in counter.progress
    assert _answers(engine.hear(Outcomes)) == {2: "other 300"}


def test_a_deadline_cuts_with_what_there_is(engine: ServedEngine) -> None:
    engine.send(_window((0, "first 1")))
    engine.hear(Outcomes)
    cut, late = _window((1, "cut 100000"), deadline=time.time() + 1), _window((2, "late 5"), deadline=time.time() - 1)
    engine.send(cut, late)
    assert _answers(engine.hear(Outcomes, 2)) == {1: "cut deadline", 2: "deadline_exceeded"}


def test_one_that_expired_or_was_cancelled_before_it_began_is_not_begun(engine: ServedEngine, counter: Counter) -> None:
    engine.send(Cancel(item_ids=[2]), _window((1, "old 5"), expires=time.time() - 1), _window((2, "gone 5")))
    assert _answers(engine.hear(Outcomes, 2)) == {1: "revoked", 2: "revoked"}
    assert not [line for line in counter.log if line.startswith("step")]


def test_a_step_that_raises_fails_only_the_item_that_it_raises_for(engine: ServedEngine, counter: Counter) -> None:
    def fail() -> None:
        raise ValueError("no good")

    counter.on["bad"] = fail
    engine.send(_window((1, "a 20"), (2, "bad 20"), (3, "c 20")))
    assert _answers(engine.hear(Outcomes)) == {1: "a 20", 2: "inference_failed", 3: "c 20"}
    engine.send(_window((4, "d 2")))
    assert _answers(engine.hear(Outcomes)) == {4: "d 2"}


def test_an_item_for_which_memory_ends_begins_again_and_fails_at_last(engine: ServedEngine, counter: Counter) -> None:
    failures = iter([True, True])

    def lack_twice() -> None:
        if next(failures, False):
            raise MemoryError

    def lack() -> None:
        raise MemoryError

    counter.on |= {"twice": lack_twice, "never": lack}
    engine.send(_window((1, "twice 20"), (2, "never 20"), (3, "c 20")))
    answers = _answers(engine.hear(Outcomes, 3))
    assert answers == {1: "twice 20", 2: "out_of_memory", 3: "c 20"}


def test_another_model_has_its_turns_meanwhile(engine: ServedEngine) -> None:
    engine.send(window_of((1, "x"), model="upper"))
    engine.hear(Outcomes)
    engine.send(_window((2, "long 100000")))
    engine.hear(Started, 2)
    engine.send(window_of((3, "y"), model="upper"))
    assert _answers(engine.hear(Outcomes)) == {3: "Y"}
    engine.send(Cancel(item_ids=[2]))
    assert _answers(engine.hear(Outcomes)) == {2: "revoked"}


def test_the_cache_is_as_large_as_what_runs_wants_and_goes_when_nothing_runs(
    engine: ServedEngine, counter: Counter
) -> None:
    engine.send(_window((1, "a 30 1000000"), (2, "b 30 500000")))
    engine.hear(Outcomes)
    assert max(counter.sizes) >= 1_500_000
    deadline = time.monotonic() + 10
    while counter.cache.held and time.monotonic() < deadline:
        time.sleep(0.05)
    assert counter.cache.held == 0
