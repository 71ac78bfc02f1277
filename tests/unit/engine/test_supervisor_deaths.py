"""EngineSupervisor when engines die: whatever they had is answered once all the same."""

import logging
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.breaker import FIRST_PAUSE
from headrace.engine.judge import STAGE_DEATHS
from headrace.engine.messages import Ended, Loaded, Message, Outcomes, Ready, Started, Window
from headrace.engine.work import Terms, WorkItem
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
    assert "failed: item 0 of job '': the engine died (exit status 3) each time" in caplog.text
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
    assert first.calls == ["reap"]
    running.supervisor.tick()
    running.hear(running.engines.ready())
    assert running.windows == [[1, 2]]


def test_an_engine_that_is_found_dead_while_it_is_listened_to_is_heard_to_its_end(
    running: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, heard = running.engines.last, []

    def on_outcomes(*outcomes: object) -> None:
        # Hearing of an outcome is when a listener hands the next items over.
        heard.append(outcomes)
        running.submit(len(heard))

    monkeypatch.setattr(running.heard, "on_outcomes", on_outcomes)
    first.deaf, first.says = True, [_outcomes(98), _outcomes(99)]
    running.supervisor.on_readable()
    assert (len(heard), first.says, running.supervisor.engine) == (2, [], None)
    running.supervisor.tick()
    running.hear(running.engines.ready())
    assert running.windows == [[1, 2]]


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


def test_a_model_whose_loads_kill_engines_is_refused_for_a_while_and_then_tried_once(running: Bench) -> None:
    load = Started(stage="load", model="m", item_ids=[])
    running.submit(1)
    for _ in range(STAGE_DEATHS):
        running.die(load)
    running.submit(2)
    assert running.heard.codes == {1: "engine_died", 2: "engine_died"}
    assert running.supervisor.models.state("m", busy=False) == "SETUP_FAILED"
    assert "while it loaded model m" in running.supervisor.models.note_of("m")
    assert "while it loaded model m" in str(running.heard.outcomes[2].error)
    assert "tried again in" in str(running.heard.outcomes[2].error)
    running.clock.now += FIRST_PAUSE
    running.submit(3)
    assert running.windows[-1] == [3]
    running.die(load)
    assert running.heard.codes[3] == "engine_died"
    running.clock.now += FIRST_PAUSE
    running.submit(4)
    assert running.heard.codes[4] == "engine_died"
    running.clock.now += FIRST_PAUSE
    running.submit(5)
    running.hear(Loaded(model="m", seconds=1.0, max_batch_size=1, max_batch_tokens=None, batch_time_limit=9.0))
    running.die(load)
    assert 5 not in running.heard.codes


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
    assert running.supervisor.models.resident == ["m"]
    running.die()
    assert not running.supervisor.models.resident


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
        bench.hear(*([] if engine.sent else [Ready()]), *_reaction(engine, fatal))
        bench.clock.now += 6
        bench.supervisor.tick()
    assert bench.heard.codes == {each: "engine_died" if each in fatal else None for each in range(count)}


def test_an_item_that_no_engine_got_is_not_blamed_for_a_death(running: Bench) -> None:
    running.engines.last.deaf = True
    running.submit(1)
    for deaf in (True, True, True, True, False):
        running.clock.now += 10
        running.supervisor.tick()
        running.engines.last.deaf = deaf
        running.hear(running.engines.ready())
    assert running.heard.outcomes == {}
    assert running.windows == [[1]]


def test_a_suspect_that_a_dead_engine_did_not_get_runs_alone_on_the_next(running: Bench) -> None:
    running.submit(1, 2)
    running.begin("infer", 1, 2)
    running.engines.last.dead = True
    running.supervisor.on_readable()
    running.clock.now += 10
    running.supervisor.tick()
    running.engines.last.deaf = True
    running.hear(running.engines.ready())
    running.die()
    assert running.windows == [[1]]
    assert running.heard.outcomes == {}


def test_what_an_engine_answered_before_a_send_found_it_dead_counts(running: Bench) -> None:
    running.submit(1)
    running.engines.last.deaf = True
    running.engines.last.says += [
        Started(stage="infer", model="m", item_ids=[1]),
        Outcomes(model="m", seconds=0.5, outcomes=[(1, "done", None)]),
        Ended(stage="infer"),
    ]
    running.submit(2)
    assert running.heard.codes == {1: None}
    running.die()
    assert running.windows == [[2]]


def test_what_was_cancelled_in_a_dead_engine_does_not_run_again(running: Bench) -> None:
    running.submit(1, 2)
    running.begin("infer", 1, 2)
    running.supervisor.cancel([2])
    running.die()
    assert running.heard.codes == {2: "revoked"}
    assert running.windows == [[1]]


def test_an_engine_that_was_ended_gets_nothing_more_and_the_next_one_gets_it_all(running: Bench) -> None:
    running.supervisor.kill()
    running.submit(1)
    running.clock.now += 10
    running.supervisor.tick()
    running.hear(running.engines.ready())
    assert running.windows == [[1]]


def test_a_window_of_which_nothing_can_be_sent_is_not_sent(running: Bench) -> None:
    running.supervisor.submit([WorkItem(1, 2**70, Terms(model="m", params={}))])
    assert running.heard.codes == {1: "invalid_input"}
    assert running.windows == []
