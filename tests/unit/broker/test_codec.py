"""Codec: JSON-like values and arrays survive; nothing that could run code gets in or out."""

from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.broker import codec

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(json_values)
def test_json_values_survive(value: Any) -> None:
    assert codec.unpack(codec.pack(value)) == value


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool", ">f4"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_arrays_survive_with_dtype_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, dtype=dtype)
    back = codec.unpack(codec.pack({"a": [array]}))["a"][0]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert np.array_equal(back, array)


def test_non_contiguous_arrays_survive() -> None:
    array = np.arange(12).reshape(3, 4).T
    assert np.array_equal(codec.unpack(codec.pack(array)), array)


def test_numpy_scalars_become_numbers() -> None:
    assert codec.unpack(codec.pack(np.float32(0.5))) == 0.5


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), lambda: None])
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        codec.pack(value)


@pytest.mark.parametrize("dtype", ["O", "M8[s]", "U4"])
def test_an_array_of_another_dtype_is_not_decoded(dtype: str) -> None:
    head = msgpack.packb((dtype, (0,)))
    with pytest.raises(ValueError, match="not allowed"):
        codec.unpack(msgpack.packb(msgpack.ExtType(1, head)))


def test_an_unknown_extension_is_not_decoded() -> None:
    with pytest.raises(ValueError, match="unknown msgpack extension"):
        codec.unpack(msgpack.packb(msgpack.ExtType(9, b"")))


def test_packed_mappings_are_told_from_json() -> None:
    assert codec.is_packed(codec.pack({"status": "SUCCESS"}))
    assert not codec.is_packed(b'{"status": "SUCCESS"}')


def test_to_json_replaces_arrays_at_any_depth() -> None:
    value = {"a": [np.array([1.5, 2.5], dtype="float32"), (np.int64(3),)], "b": "text"}
    assert codec.to_json(value) == {"a": [[1.5, 2.5], [3]], "b": "text"}


@pytest.mark.parametrize(
    "value",
    [
        *(1, "a", None, {"a": [1, {1: None, 0.5: "b"}, (True, [np.arange(3)])]}, np.float32(1)),
        *([1.5] * 1000, [1.5, 1, "a"], [1.5, 1, True], [1, "a"]),
    ],
)
def test_what_comes_back_as_it_went_is_let_through(value: Any) -> None:
    codec.check(value)
    codec.unpack(codec.pack(value))


@pytest.mark.parametrize("value", [{("a",): 1}, [[{b"a": 1}]], [msgpack.ExtType(9, b"")], msgpack.Timestamp(1)])
def test_what_does_not_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be sent: use"):
        codec.check(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda number: number,
        lambda number: [1.0, number, 2.0],
        lambda number: [1, number, True],
        lambda number: {"a": ["b", (None, number)]},
        lambda number: np.array([[0.0, number]], np.float32),
        lambda number: [np.float16(number)],
    ],
)
def test_what_json_has_no_number_for_is_refused(number: float, wrap: Callable[[float], Any]) -> None:
    with pytest.raises(ValueError, match="NaN or an infinite number"):
        codec.check(wrap(number))


def test_numbers_whose_sum_is_infinite_are_let_through() -> None:
    codec.check([1e308, 1e308])


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deeply"):
        codec.check(value)
