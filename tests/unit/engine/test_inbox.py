"""Inbox: turns of one model, and a reader that waits without asking."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from headrace.engine.batch import Entry
from headrace.engine.inbox import Inbox, Waiting
from headrace.engine.turns import Line
from tests.utils.waiting import wait_until
from tests.utils.windows import window_of


def _take(inbox: Inbox, most: int = 100) -> Sequence[Waiting]:
    """A turn of the model that waits longest."""
    lines = inbox.wait()
    return inbox.take(next(iter(lines)), most) if lines else []


def _waiting(model: str, number: int, state: str) -> Waiting:
    """A window that is `new` (its model is not loaded), `pending` in preparation, or `prepared`."""
    future: Future[list[Entry]] | None = None if state == "new" else Future()
    if future is not None and state == "prepared":
        future.set_result([])
    return Waiting(window_of((number, None), model=model), future)


def _numbers(turn: Sequence[Waiting]) -> list[int]:
    return [waiting.window.items[0][0] for waiting in turn]


def _turns(inbox: Inbox, count: int) -> list[list[int]]:
    return [_numbers(_take(inbox)) for _ in range(count)]


def test_a_turn_is_one_model_and_takes_all_its_prepared_windows() -> None:
    inbox = Inbox()
    for model, number, state in (("a", 1, "new"), ("b", 2, "prepared"), ("a", 3, "prepared"), ("a", 4, "new")):
        inbox.put(_waiting(model, number, state))
    assert _turns(inbox, 3) == [[1, 3], [2], [4]]


def test_a_turn_has_no_more_than_was_asked_for_unless_its_first_window_has() -> None:
    inbox = Inbox()
    for number in range(3):
        inbox.put(_waiting("a", number, "prepared"))
    assert _numbers(_take(inbox, 0)) == [0]
    assert _numbers(_take(inbox, 2)) == [1, 2]


@pytest.mark.parametrize("state", ["new", "pending"])
def test_a_window_that_is_not_prepared_does_not_hold_a_turn_up(state: str) -> None:
    inbox = Inbox()
    for number, each in enumerate(("prepared", state, "prepared")):
        inbox.put(_waiting("a", number, each))
    assert _turns(inbox, 2) == [[0, 2], [1]]


def test_a_preparation_that_failed_is_ready_too() -> None:
    inbox, failed = Inbox(), _waiting("a", 2, "pending")
    assert failed.entries is not None
    failed.entries.set_exception(ValueError("no"))
    inbox.put(_waiting("a", 1, "prepared"))
    inbox.put(failed)
    assert _turns(inbox, 1) == [[1, 2]]


def test_the_window_that_waits_longest_goes_first_whatever_its_state() -> None:
    inbox = Inbox()
    inbox.put(_waiting("a", 1, "pending"))
    inbox.put(_waiting("b", 2, "prepared"))
    assert _turns(inbox, 2) == [[1], [2]]


def test_a_reader_waits_for_the_next_window() -> None:
    inbox = Inbox()
    with ThreadPoolExecutor(1) as readers:
        turn = readers.submit(_take, inbox)
        wait_until(lambda: _waits(inbox))
        inbox.put(_waiting("a", 1, "new"))
        assert _numbers(turn.result(5)) == [1]


def test_closing_wakes_a_reader_that_waits() -> None:
    inbox = Inbox()
    with ThreadPoolExecutor(1) as readers:
        turn = readers.submit(_take, inbox)
        wait_until(lambda: _waits(inbox))
        inbox.close()
        assert turn.result(5) == []


def _waits(inbox: Inbox) -> bool:
    """Whether a thread waits in the inbox; only `notify` and `wait` know the waiters."""
    waiters: Sequence[threading.Lock] = inbox._changed._waiters  # type: ignore[attr-defined]
    return bool(waiters)


def test_a_closed_inbox_ends_its_reader_whatever_waits() -> None:
    inbox = Inbox()
    inbox.put(_waiting("a", 1, "prepared"))
    inbox.close()
    assert _take(inbox) == []
    assert _take(inbox) == []


def test_the_model_that_is_chosen_goes_first_by_what_waits_of_each() -> None:
    inbox = Inbox()
    for model, number in (("a", 1), ("b", 2), ("b", 3)):
        waiting = _waiting(model, number, "prepared")
        inbox.put(Waiting(waiting.window, waiting.entries, float(number)))
    assert inbox.wait() == {"a": Line(1, 1.0), "b": Line(2, 2.0)}
    assert inbox.item_ids("b") == [2, 3]
    assert _numbers(inbox.take("b", 100)) == [2, 3]
    assert inbox.wait() == {"a": Line(1, 1.0)}


def test_a_reader_that_waits_in_vain_comes_back_after_its_time() -> None:
    assert Inbox().wait(timeout=0.01) == {}


def test_a_reader_may_wait_for_some_models_only_and_be_woken() -> None:
    inbox = Inbox()
    inbox.put(_waiting("a", 1, "prepared"))
    assert inbox.wait(timeout=0.01, only=["b"]) == {}
    woken = threading.Timer(0.02, inbox.wake)
    woken.start()
    begin = time.monotonic()
    assert inbox.wait(timeout=10, only=["b"]) == {}
    assert time.monotonic() - begin < 5
    inbox.put(_waiting("b", 2, "prepared"))
    assert list(inbox.wait(only=["b"])) == ["b"]
    assert list(inbox.wait()) == ["a", "b"]
