"""prepare_window: one entry per item, in order, whatever `prepare` does."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headrace.engine.batch import Entry
from headrace.engine.messages import Window
from headrace.engine.prepare import prepare_window
from headrace.errors import HeadraceError, InferenceFailed, InvalidInput, WeightsError
from headrace.sdk.config import BaseConfig
from headrace.sdk.device import Device
from headrace.sdk.messages import Item, Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface
from tests.utils.windows import window_of


class Plugin(ModelPluginInterface):
    """Prepares as the test says."""

    def __init__(self, prepare: Callable[[Item], Prepared]) -> None:
        self.calls: list[int] = []
        self._prepare = prepare
        self.initialize(BaseConfig(), Device("cpu"))

    def load_model(self) -> None:
        """Nothing to load."""

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        self.calls.append(len(items))
        return [self._prepare(item) for item in items]

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        return []

    def cleanup(self) -> None:
        """Nothing to free."""


def _length(item: Item) -> Prepared:
    return Prepared(size=len(item.input), data=item.input.upper(), params=item.params)


def _picky(error: Exception) -> Callable[[Item], Prepared]:
    def prepare(item: Item) -> Prepared:
        if item.input == "bad":
            raise error
        return _length(item)

    return prepare


def _window(*values: Any) -> Window:
    return window_of(*enumerate(values))


def _errors(entries: Sequence[Entry]) -> list[HeadraceError | None]:
    return [entry.prepared.error for entry in entries]


def test_entries_are_in_the_windows_order_with_their_times_and_params() -> None:
    window = Window(
        model="m", items=[(7, "abc", 0), (3, "a", 1)], terms=[({"top": 3}, 5.0, None, 1), ({}, None, 6.0, 2)]
    )
    assert prepare_window(Plugin(_length), window) == [
        Entry(item_id=7, prepared=Prepared(size=3, data="ABC", params={"top": 3}), deadline=5.0, expires=None),
        Entry(item_id=3, prepared=Prepared(size=1, data="A", params={}), deadline=None, expires=6.0),
    ]


def test_params_beside_an_input_stand_over_those_of_the_job() -> None:
    window = window_of((1, {"text": "a", "top": 5}), (2, {"text": "b"}), params={"top": 3, "seed": 1})
    plugin = Plugin(lambda item: Prepared(data=item.input, params=item.params))
    entries = prepare_window(plugin, window, beside=frozenset({"top"}))
    assert [(entry.prepared.data, entry.prepared.params) for entry in entries] == [
        ({"text": "a"}, {"top": 5, "seed": 1}),
        ({"text": "b"}, {"top": 3, "seed": 1}),
    ]


def test_a_window_without_trouble_is_prepared_in_one_call() -> None:
    plugin = Plugin(_length)
    prepare_window(plugin, _window("a", "b", "c"))
    assert plugin.calls == [3]


def test_an_exception_refuses_its_item_alone_and_is_its_cause() -> None:
    broken = RuntimeError("cannot read this")
    first, error, last = _errors(prepare_window(Plugin(_picky(broken)), _window("a", "bad", "c")))
    assert first is last is None
    assert isinstance(error, InferenceFailed)
    assert str(error) == "prepare raised RuntimeError: cannot read this"
    assert error.__cause__ is broken


def test_an_error_of_ours_is_kept_as_it_is() -> None:
    broken = WeightsError("another hash")
    assert _errors(prepare_window(Plugin(_picky(broken)), _window("bad", "c"))) == [broken, None]


def test_a_refusal_that_is_returned_is_kept_too() -> None:
    refusal = InvalidInput("too long")
    plugin = Plugin(lambda item: Prepared(error=refusal) if item.input == "bad" else _length(item))
    assert _errors(prepare_window(plugin, _window("a", "bad"))) == [None, refusal]


@pytest.mark.parametrize("size", [-1, 1.5, None, "3", float("nan"), True, 2**40 + 1, 10**30])
def test_a_size_that_is_no_whole_number_fails_its_item_alone(size: Any) -> None:
    plugin = Plugin(lambda item: Prepared(size=size if item.input == "bad" else 1))
    first, error = _errors(prepare_window(plugin, _window("a", "bad")))
    assert first is None
    assert error is not None
    assert error.code == "batch_law_broken"
    assert repr(size) in str(error)


def test_an_item_may_cost_nothing() -> None:
    (entry,) = prepare_window(Plugin(_length), _window(""))
    assert (entry.prepared.size, entry.prepared.error) == (0, None)
