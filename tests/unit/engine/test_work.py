"""window_rows: what can be sent goes, what can't be is named, item by item."""

from typing import Any

import pytest

from headrace.engine.messages import Window
from headrace.engine.work import WorkItem, window_rows


def _nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


#: Valid JSON, all of it.
UNSENDABLE = [2**64, -(2**63) - 1, "\ud800", {"text": "\udfff"}, {"\ud800": 1}, _nested(2000)]


def _item(item_id: int, value: Any = "text", **fields: Any) -> WorkItem:
    return WorkItem(item_id=item_id, model="m", input=value, **{"params": {}, **fields})


def test_rows_hold_what_the_engine_needs_in_order() -> None:
    rows, unsendable = window_rows(
        [_item(2, {"a": 1}, params={"top": 3}, deadline=5.0), _item(1, expires=6.0, attempt=2)]
    )
    assert rows == [(2, {"a": 1}, {"top": 3}, 5.0, None, 1), (1, "text", {}, None, 6.0, 2)]
    assert unsendable == []


@pytest.mark.parametrize("value", UNSENDABLE, ids=range(len(UNSENDABLE)))
def test_an_input_that_cannot_be_sent_is_named_and_the_others_go(value: Any) -> None:
    rows, unsendable = window_rows([_item(1), _item(2, value), _item(3)])
    assert [row[0] for row in rows] == [1, 3]
    assert unsendable == [2]
    assert Window(model="m", items=rows).encode()


@pytest.mark.parametrize("value", UNSENDABLE, ids=range(len(UNSENDABLE)))
def test_params_that_cannot_be_sent_count_as_the_item(value: Any) -> None:
    assert window_rows([_item(1, params={"top": value}), _item(2)]) == ([(2, "text", {}, None, None, 1)], [1])


@pytest.mark.parametrize(
    "value", [2**64 - 1, -(2**63), 1.5e300, None, True, "😀", {"a": [1, {"b": None}]}, _nested(100)]
)
def test_other_json_is_sent(value: Any) -> None:
    rows, unsendable = window_rows([_item(1, value)])
    assert [row[1] for row in rows] == [value]
    assert unsendable == []


def test_nothing_makes_no_rows() -> None:
    assert window_rows([]) == ([], [])
