"""EngineSupervisor when engines die: whatever they had is answered once all the same."""

import logging
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.messages import Loaded, Message, Outcomes, Ready, Started, Window
from tests.utils.engines import StandInEngine
from tests.utils.supervised import Bench


def _outcomes(*item_ids: int) -> Outcomes:
    return Outcomes(model="m", seconds=0.5, outcomes=[(each, None, None) for each in item_ids])


def _infer(*item_ids: int) -> Started:
    return Started(stage="infer", model="m", item_ids=list(item_ids))


def test_a_dead_engine_is_replaced_and_the_listener_hears_of_both(running: Bench) -> None:
    first = running.engines.last
    running.die()
    assert first.calls == ["reap"]
    assert running.heard.engines[1:] == [("disconnected", first), ("connected", running.engines.last)]
    assert running.supervisor.restarts == 1


def test_a_batch_that_died_runs_in_halves_alone_and_what_waited_runs_after_it(running: Bench) -> None:
    running.submit(1, 2, 3)
    running.submit(4)
    running.die(_infer(1, 2, 3))
    running.submit(5)
    assert running.windows == [[1, 2]]
    running.hear(_outcomes(1))
    assert running.windows == [[1, 2]]
    running.hear(_outcomes(2))
    running.submit(6)
    assert running.windows == [[1, 2], [3]]
    running.hear(_outcomes(3))
    assert running.windows == [[1, 2], [3], [4, 5, 6]]
    running.hear(_outcomes(4, 5, 6))
    assert running.heard.codes == dict.fromkeys(range(1, 7))


def test_an_item_that_kills_the_engine_twice_alone_fails(running: Bench, caplog: pytest.LogCaptureFixture) -> None:
    running.submit(1)
    with caplog.at_level(logging.ERROR):
        running.die(_infer(1))
    assert "exit status 3; it was running infer of 1 m items" in caplog.text
    assert running.heard.codes == {}
    running.die(_infer(1))
    assert running.heard.codes == {1: "engine_died"}
    assert running.windows == []


def test_an_item_that_is_slow_alone_fails_and_the_others_run_again(running: Bench) -> None:
    running.submit(1, time_limit=5.0)
    running.submit(2)
    running.begin("infer", 1)
    running.clock.now += 6
    running.supervisor.tick()
    assert running.heard.codes == {1: "time_limit_exceeded"}
    running.supervisor.tick()
    running.hear(running.engines.ready())
    assert running.windows == [[2]]


def test_what_a_dying_engine_said_last_counts(running: Bench) -> None:
    running.submit(1, 2)
    running.die(_infer(1, 2), _outcomes(1))
    assert running.heard.codes == {1: None}
    assert running.windows == [[2]]


def test_a_send_that_finds_the_engine_gone_is_a_death(running: Bench) -> None:
    first = running.engines.last
    first.deaf = True
    running.submit(1, 2)
    assert first.calls == ["kill", "reap"]
    running.supervisor.tick()
    running.hear(running.engines.ready())
    for each in (1, 2):
        assert running.windows[-1] == [each]
        running.hear(_outcomes(each))
    assert running.heard.codes == {1: None, 2: None}


def test_an_engine_that_dies_while_it_is_listened_to_is_not_heard_further(
    running: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = running.engines.last
    first.deaf = True
    # Hearing of an outcome is when a listener hands the next items over.
    monkeypatch.setattr(running.heard, "on_outcomes", lambda *_: running.submit(2))
    first.says = [_outcomes(98), _outcomes(99)]
    running.supervisor.on_readable()
    assert first.says == [_outcomes(99)]
    assert running.supervisor.engine is None


def test_a_cancelled_suspect_is_answered_and_does_not_run_again(running: Bench) -> None:
    running.submit(1, 2, 3, 4)
    running.die(_infer(1, 2, 3, 4))
    running.supervisor.cancel([3])
    assert running.heard.codes == {3: "revoked"}
    running.hear(_outcomes(1, 2))
    assert running.windows == [[1, 2], [4]]


def test_a_group_of_suspects_that_is_cancelled_holds_nobody_up(running: Bench) -> None:
    running.submit(1, 2, 3, 4)
    running.die(_infer(1, 2, 3, 4))
    running.submit(5)
    running.supervisor.cancel([3, 4])
    running.hear(_outcomes(1, 2))
    assert running.windows == [[1, 2], [5]]


def test_the_next_engine_is_not_blamed_for_what_the_last_one_ran(running: Bench) -> None:
    running.submit(1)
    running.die(_infer(1))
    running.clock.now += 10_000
    running.supervisor.tick()
    assert running.engines.last.calls == []


def test_an_engine_that_has_answered_is_replaced_at_once_each_time(running: Bench) -> None:
    for item in range(5):
        running.submit(item)
        running.engines.last.dead = True
        running.hear(_outcomes(item))
        running.supervisor.tick()
        running.hear(running.engines.ready())
    assert running.supervisor.restarts == 5


def test_the_third_death_in_loading_fails_the_models_items_only(running: Bench) -> None:
    running.submit(1)
    running.submit(2, model="other")
    for _ in range(3):
        assert running.heard.codes == {}
        running.die(Started(stage="load", model="m", item_ids=[1]))
    assert running.heard.codes == {1: "engine_died"}
    assert running.windows == [[2]]


def test_a_model_that_was_loaded_between_may_die_three_times_again(running: Bench) -> None:
    running.submit(1)
    load = Started(stage="load", model="m", item_ids=[1])
    loaded = Loaded(model="m", seconds=1.0, max_batch_size=1, max_batch_tokens=None, batch_time_limit=9.0)
    for _ in range(2):
        running.die(load)
    running.die(loaded, load)
    running.die(load)
    assert running.heard.codes == {}


def test_resident_models_are_those_of_the_running_engine(running: Bench) -> None:
    running.hear(Loaded(model="m", seconds=1.0, max_batch_size=1, max_batch_tokens=None, batch_time_limit=9.0))
    assert list(running.supervisor.loaded) == ["m"]
    running.die()
    assert not running.supervisor.loaded


def test_engines_that_never_get_ready_fail_what_waits(bench: Bench) -> None:
    bench.submit(1)
    bench.supervisor.start()
    for _ in range(3):
        assert bench.heard.codes == {}
        bench.clock.now += 61
        bench.supervisor.tick()
        bench.clock.now += 6
        bench.supervisor.tick()
    assert bench.heard.codes == {1: "engine_died"}
    assert [engine.calls for engine in bench.engines.spawned[:3]] == [["kill", "reap"]] * 3


def test_an_engine_that_got_ready_between_lets_others_fail_three_times_again(bench: Bench) -> None:
    bench.submit(1)
    bench.supervisor.start()
    for ready in (False, False, True, False, False):
        if ready:
            bench.hear(bench.engines.ready())
        bench.engines.last.dead = True
        bench.supervisor.on_readable()
        bench.clock.now += 6
        bench.supervisor.tick()
    assert bench.heard.codes == {}


def _reaction(engine: StandInEngine, fatal: Collection[int]) -> list[Message]:
    """What an engine says to its windows; it dies of a batch with a fatal item."""
    said: list[Message] = []
    for window in (message for message in engine.sent if isinstance(message, Window)):
        item_ids = [item[0] for item in window.items]
        said.append(_infer(*item_ids))
        if not set(item_ids).isdisjoint(fatal):
            engine.dead = True
            break
        said.append(_outcomes(*item_ids))
    engine.sent.clear()
    return said


@settings(max_examples=50)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=5), st.data())
def test_whatever_kills_engines_each_item_has_one_outcome_and_only_the_fatal_ones_fail(
    sizes: list[int], data: st.DataObject
) -> None:
    bench, count = Bench(), sum(sizes)
    fatal = data.draw(st.sets(st.integers(0, count - 1), max_size=4))
    numbers = iter(range(count))
    bench.supervisor.start()
    for size in sizes:
        bench.submit(*(next(numbers) for _ in range(size)))
    for _ in range(20 * count + 20):
        engine = bench.engines.last
        bench.hear(*([] if engine.sent else [Ready(pid=engine.pid)]), *_reaction(engine, fatal))
        bench.clock.now += 6
        bench.supervisor.tick()
    assert bench.heard.codes == {each: "engine_died" if each in fatal else None for each in range(count)}
