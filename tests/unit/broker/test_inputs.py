"""InputCheck: what is refused before anything is queued, and with which words."""

from typing import Any

import pytest

from headrace.broker.inputs import InputCheck
from headrace.errors import InputTooLarge, InvalidInput, ManifestError

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def _check(limit: int = 100) -> InputCheck:
    return InputCheck("minilm", SCHEMA, max_input_bytes=limit)


def test_of_a_good_input_the_size_is_told() -> None:
    assert _check().size({"text": "mill"}) == 15


@pytest.mark.parametrize("value", [{}, {"text": 1}, "text", None, ["text"]])
def test_what_the_schema_rejects_is_refused_with_the_models_name(value: Any) -> None:
    with pytest.raises(InvalidInput, match="minilm"):
        _check().size(value)


@pytest.mark.parametrize("value", [{"text": object()}, {1: "text"}, {"text": {"a", "b"}}])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="not JSON"):
        _check().size(value)


@pytest.mark.parametrize("value", [float("nan"), [None, float("inf")], {"text": "a", "more": [{"x": float("-inf")}]}])
def test_what_json_has_no_number_for_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="NaN"):
        InputCheck("minilm", {}, max_input_bytes=100).size(value)


def test_null_is_json() -> None:
    assert InputCheck("minilm", {}, max_input_bytes=100).size([None, {"a": None}, "null", 1.5]) > 0


def test_the_limit_counts_the_bytes_of_the_json() -> None:
    assert _check(limit=100).size({"text": "x" * 89}) == 100
    with pytest.raises(InputTooLarge, match="101 bytes"):
        _check(limit=100).size({"text": "x" * 90})


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/schema", "file:///etc/hostname"])
def test_a_schema_never_opens_files_or_urls(uri: str) -> None:
    with pytest.raises(ManifestError, match="leaves the schema"):
        InputCheck("minilm", {"$ref": uri}, max_input_bytes=100)


def test_params_are_held_against_their_schema() -> None:
    check = InputCheck("minilm", SCHEMA, params_schema={"required": ["top"]}, max_input_bytes=100)
    check.check_params({"top": 1})
    with pytest.raises(InvalidInput, match="top"):
        check.check_params({})
    with pytest.raises(InvalidInput, match="it has none named 'dtype'"):
        _check().check_params({"dtype": "float16"})


def test_params_beside_an_input_are_checked_as_params() -> None:
    params = {"type": "object", "properties": {"seed": {"type": "integer"}}, "additionalProperties": False}
    schema = SCHEMA | {"additionalProperties": False}
    check = InputCheck("m", schema, params_schema=params, beside=frozenset({"seed"}), max_input_bytes=100)
    assert check.size({"text": "a", "seed": 3}) == 21
    with pytest.raises(InvalidInput, match=r"params\['seed'\] for m"):
        check.size({"text": "a", "seed": "3"})
    with pytest.raises(InvalidInput, match="input for m"):
        check.size({"text": "a", "sead": 3})
