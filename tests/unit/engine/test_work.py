"""encode_window: what can be sent goes, what can't be is named, item by item."""

from typing import Any

import pytest

from headrace.engine.messages import Decoder, Window
from headrace.engine.work import Terms, WorkItem, encode_window


def _nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


#: Valid JSON, all of it.
UNSENDABLE = [2**64, -(2**63) - 1, "\ud800", {"text": "\udfff"}, {"\ud800": 1}, _nested(2000)]


def _item(item_id: int, value: Any = "text", **fields: Any) -> WorkItem:
    return WorkItem(item_id, value, Terms(model="m", **{"params": {}, **fields}))


def _read(data: bytes) -> Window:
    (window,) = Decoder().feed(data)
    assert isinstance(window, Window)
    return window


def test_a_window_holds_what_the_engine_needs_in_order_and_what_items_share_once() -> None:
    shared = Terms(model="m", params={"top": 3}, deadline=5.0)
    items = [WorkItem(2, {"a": 1}, shared), _item(1, expires=6.0, attempt=2), WorkItem(3, "b", shared)]
    encoded, sent, unsendable = encode_window(items)
    assert _read(encoded) == Window(
        model="m",
        items=[[2, {"a": 1}, 0], [1, "text", 1], [3, "b", 0]],  # type: ignore[list-item]  # msgpack gives lists
        terms=[[{"top": 3}, 5.0, None, 1], [{}, None, 6.0, 2]],  # type: ignore[list-item]  # likewise
    )
    assert (sent, unsendable) == ([2, 1, 3], [])


@pytest.mark.parametrize("value", UNSENDABLE, ids=range(len(UNSENDABLE)))
def test_an_input_that_cannot_be_sent_is_named_and_the_others_go(value: Any) -> None:
    encoded, sent, unsendable = encode_window([_item(1), _item(2, value), _item(3)])
    assert (sent, unsendable) == ([1, 3], [2])
    assert [item[0] for item in _read(encoded).items] == [1, 3]


@pytest.mark.parametrize("value", UNSENDABLE, ids=range(len(UNSENDABLE)))
def test_params_that_cannot_be_sent_count_as_the_item(value: Any) -> None:
    _, sent, unsendable = encode_window([_item(1, params={"top": value}), _item(2)])
    assert (sent, unsendable) == ([2], [1])


@pytest.mark.parametrize(
    "value", [2**64 - 1, -(2**63), 1.5e300, None, True, "😀", {"a": [1, {"b": None}]}, _nested(100)]
)
def test_other_json_is_sent(value: Any) -> None:
    encoded, sent, unsendable = encode_window([_item(1, value)])
    assert (sent, unsendable) == ([1], [])
    assert _read(encoded).items[0][1] == value


def test_where_nothing_can_be_sent_there_is_no_window() -> None:
    assert encode_window([]) == (b"", [], [])
    assert encode_window([_item(1, 2**64)]) == (b"", [], [1])
