"""Bulk formats: every line is answered, whatever is on it, and JSON means JSON."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk.formats import Fields, Row, read_rows, write_row
from headrace.errors import InferenceFailed, InvalidLine, PluginError

text = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
    max_leaves=20,
)


def rows(data: bytes, *, field: str = "text", **options: int) -> list[Row]:
    return list(read_rows(io.BytesIO(data), Fields(name=field, target="text"), **options))


def written(output: Any, error: Any = None, *, custom_id: str | int = "a") -> tuple[Any, dict[str, Any]]:
    """The error that a row is said to have, and the row."""
    stream = io.BytesIO()
    said = write_row(stream, custom_id, output, error)
    line = stream.getvalue()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return said, json.loads(line, parse_constant=pytest.fail)


def test_a_line_becomes_the_models_input() -> None:
    assert rows(b'{"custom_id": "x", "body": "hi", "other": 1}\n', field="body") == [
        Row(number=1, custom_id="x", input={"text": "hi"})
    ]


def test_other_fields_of_an_input_and_params_beside_it_come_along() -> None:
    fields = Fields(name="body", target="prompt", others=frozenset({"messages"}), params=frozenset({"seed"}))
    lines = [b'{"messages": [], "seed": 1, "day": 2}', b'{"body": "a", "seed": 3}', b'{"seed": 4}']
    found = list(read_rows(io.BytesIO(b"\n".join(lines)), fields))
    assert [row.input for row in found] == [{"messages": [], "seed": 1}, {"prompt": "a", "seed": 3}, None]
    assert "has no field 'body'" in str(found[2].error)


def test_blank_lines_are_counted_and_skipped() -> None:
    data = b'\xef\xbb\xbf\r\n{"text": 1}\r\n  \n\n{"text": 2}'
    assert [(row.number, row.custom_id) for row in rows(data)] == [(2, "line-2"), (5, "line-5")]


def test_a_byte_order_mark_is_tolerated() -> None:
    assert rows(b'\xef\xbb\xbf{"text": "hi"}\n')[0].input == {"text": "hi"}


def test_custom_ids_may_be_integers_and_may_repeat() -> None:
    data = b'{"custom_id": 7, "text": "a"}\n{"custom_id": 7, "text": "b"}\n'
    assert [row.custom_id for row in rows(data)] == [7, 7]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "not JSON"),
        (b'{"text": NaN}', "not JSON"),
        (b'{"text": -Infinity}', "not JSON"),
        (b'{"text": "\xff"}', "UTF-8"),
        (b'{"text": "\\ud800"}', "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b'"text"', "a str"),
        (b"null", "but null"),
        (b"[]", "but an array"),
        (b'{"text": "\xff"}', "byte 11 is not UTF-8"),
        (b'{"custom_id": true, "text": ""}', "custom_id"),
        (b'{"custom_id": 1.5, "text": ""}', "custom_id"),
        (b'{"custom_id": 18446744073709551616, "text": ""}', "custom_id"),
        (b"{}", "'text' but nothing"),
        (b'{"body": 1, "title": 2}', "'text' but 'body', 'title'"),
        (b'{"text": "' + b"x" * 10_000 + b'"}', "too long"),
    ],
)
def test_a_bad_line_is_an_error_row_and_reading_goes_on(line: bytes, words: str) -> None:
    bad, good = rows(b"\n" + line + b'\n{"text": "hi"}\n', max_line_bytes=8192)
    assert bad.input is None
    assert bad.custom_id == "line-2"
    assert isinstance(bad.error, InvalidLine)
    assert str(bad.error).startswith("line 2")
    assert words in str(bad.error)
    assert (good.number, good.input) == (3, {"text": "hi"})


def test_a_custom_id_of_null_is_none() -> None:
    assert rows(b'{"custom_id": null, "text": "a"}')[0].custom_id == "line-1"


def test_a_line_without_the_field_keeps_its_custom_id() -> None:
    assert rows(b'{"custom_id": "x"}')[0].custom_id == "x"


def test_the_limit_is_on_the_line_without_its_end() -> None:
    line = b'{"text": 1}'
    assert rows(line + b"\n" + line, max_line_bytes=len(line))[0].error is None
    assert [bool(row.error) for row in rows(line + b" \n" + line + b" ", max_line_bytes=len(line))] == [
        True,
        True,
    ]


def test_a_huge_line_is_never_in_memory() -> None:
    class Huge(io.BytesIO):
        asked = 0
        left = 1000

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size == 101
            self.left -= 1
            return b"x" * size if self.left > 0 else b""

    assert [str(row.error) for row in read_rows(Huge(), Fields(name="text", target="text"), max_line_bytes=100)] == [
        "line 1 is too long: split its input"
    ]


@given(st.lists(st.binary(max_size=30)), st.integers(1, 40))
def test_every_line_that_is_not_blank_gets_one_row(lines: list[bytes], limit: int) -> None:
    data = b"\n".join(line.replace(b"\n", b"") for line in lines)
    answered = [row.number for row in rows(data, max_line_bytes=limit)]
    wanted = [number for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1) if line.strip()]
    assert set(wanted) <= set(answered)
    assert answered == sorted(set(answered))


@given(st.lists(st.tuples(text | st.integers(-(2**63), 2**64 - 1), json_values)))
def test_what_json_can_say_is_read_and_written_unchanged(pairs: list[tuple[str | int, Any]]) -> None:
    data = "\n".join(json.dumps({"custom_id": name, "text": value}) for name, value in pairs).encode()
    read = rows(data)
    assert [(row.custom_id, row.input) for row in read] == [(name, {"text": value}) for name, value in pairs]
    for row in read:
        error, line = written(row.input, custom_id=row.custom_id)
        assert error is None
        assert line == {"custom_id": row.custom_id, "output": row.input, "error": None}


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_float32_arrays_come_back_exactly(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    _, line = written({"embedding": vector})
    assert np.array_equal(np.array(line["output"]["embedding"], np.float32), vector)


def test_float32_is_written_with_its_shortest_digits() -> None:
    stream = io.BytesIO()
    write_row(stream, 1, np.array([0.1], np.float32))
    assert b"[0.1]" in stream.getvalue()


@pytest.mark.parametrize(
    ("output", "plain"),
    [
        (np.arange(4, dtype=np.float32)[::2], [0.0, 2.0]),
        (np.zeros((2, 1), np.float32).T, [[0.0, 0.0]]),
        (np.array([1.5], np.float16), [1.5]),
        (np.array(3.0), 3.0),
        (np.float32(0.5), 0.5),
        (np.int64(5), 5),
        ({"nested": [np.array([True])]}, {"nested": [[True]]}),
        ({1: "a"}, {"1": "a"}),
        ((1, 2), [1, 2]),
        ([None, {"text": "null"}], [None, {"text": "null"}]),
        (None, None),
    ],
)
def test_outputs_that_are_nearly_json_are_written(output: Any, plain: Any) -> None:
    assert written(output) == (None, {"custom_id": "a", "output": plain, "error": None})


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (object(), "object"),
        (b"bytes", "bytes"),
        ({1, 2}, "set"),
        ("\ud800", "UTF-8"),
        (2**80, "64"),
        (np.array([object()]), "ndarray"),
        (np.array([1, 2], ">i4"), "endian"),
        (np.array([1.0], np.longdouble), "recursion"),
        (np.longdouble(1.5), "recursion"),
        (float("nan"), "NaN"),
        ([{"score": float("inf")}], "NaN"),
        ((None, float("-inf")), "NaN"),
        (np.array([0.0, np.nan], np.float32), "NaN"),
        (np.float32("inf"), "NaN"),
    ],
)
def test_an_output_that_json_cannot_carry_becomes_an_error(output: Any, words: str) -> None:
    error, line = written(output)
    assert isinstance(error, PluginError)
    assert line["output"] is None
    assert line["error"]["code"] == PluginError.code
    assert words.lower() in line["error"]["message"].lower()


def test_an_error_is_written_with_its_code() -> None:
    error = InferenceFailed("bad \ud800 input")
    assert written("ignored", error) == (
        error,
        {
            "custom_id": "a",
            "output": None,
            "error": {"code": "inference_failed", "message": "bad \\ud800 input"},
        },
    )
