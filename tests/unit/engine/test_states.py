"""ModelStates: the latest that an engine told of each model."""

from dataclasses import replace

import pytest

from headrace.engine.messages import Ended, Evicted, Loaded, LoadFailed, Message, Progress, Started
from headrace.engine.states import ModelStates

LOADED = Loaded(
    model="m", seconds=1.0, max_batch_size=None, max_batch_tokens=None, batch_time_limit=9.0, weights=5
)  # fmt: skip
STARTED = Started(stage="load", model="m", item_ids=[1])


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([], None),
        ([Started(stage="infer", model="m", item_ids=[1])], None),
        ([STARTED], "STARTING"),
        ([STARTED, Ended(stage="load")], None),
        ([STARTED, Ended(stage="prepare")], "STARTING"),
        ([STARTED, Ended(stage="load"), LOADED], "READY"),
        ([STARTED, LOADED, Evicted(model="m")], "EVICTED"),
        ([STARTED, LoadFailed(model="m", reason="no file")], "SETUP_FAILED"),
        ([LoadFailed(model="m", reason="no file"), STARTED, LOADED], "READY"),
    ],
)
def test_the_latest_message_decides(told: list[Message], state: str | None) -> None:
    states = ModelStates()
    for message in told:
        states.note(message)
    assert states.state("m", busy=False) == state
    assert states.known == (["m"] if state else [])


def test_a_loaded_model_whose_items_the_engine_has_is_busy() -> None:
    states = ModelStates()
    states.note(LOADED)
    assert states.state("m", busy=True) == "BUSY"
    assert (states.resident, states.loaded("m")) == (["m"], LOADED)


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (LOADED, "EVICTED"),
        (STARTED, "EVICTED"),
        (Evicted(model="m"), "EVICTED"),
        (LoadFailed(model="m", reason="no file"), "SETUP_FAILED"),
    ],
)
def test_no_model_is_on_the_device_of_a_new_engine_and_why_one_failed_is_still_told(told: Message, state: str) -> None:
    states = ModelStates()
    states.note(told)
    states.clear()
    assert (states.resident, states.loaded("m"), states.state("m", busy=True)) == ([], None, state)
    assert states.note_of("m") == ("no file" if state == "SETUP_FAILED" else "")


def test_the_reason_of_a_failure_is_told_while_it_lasts_and_where_weights_are() -> None:
    states = ModelStates()
    states.note(LoadFailed(model="m", reason="no file"))
    assert states.note_of("m") == "no file"
    states.note(LOADED)
    assert states.note_of("m") == ""
    states.note(replace(LOADED, paged="half on disk"))
    assert states.note_of("m") == "half on disk"
    states.note(replace(LOADED, attention="paged|sdpa (no GPU)"))
    assert states.note_of("m") == "attention paged|sdpa (no GPU)"
    states.note(replace(LOADED, paged="half on disk", attention="paged|sdpa (no GPU)"))
    assert states.note_of("m") == "half on disk, attention paged|sdpa (no GPU)"
    assert states.note_of("never") == ""


def test_progress_is_that_of_the_last_word_and_ends_with_the_engine() -> None:
    states = ModelStates()
    states.note(Progress(model="m", done={1: 5, 2: 7}))
    states.note(Progress(model="m", done={2: 9, 3: 1}))
    assert states.progress("m", [1, 2]) == 9
    assert states.progress("other", [1]) == 0
    states.clear()
    assert states.progress("m", [2]) == 0
