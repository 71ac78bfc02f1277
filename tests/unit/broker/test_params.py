"""ParamsCheck: what a model has not declared is refused by its name."""

from typing import Any

import pytest

from headrace.broker.params import ParamsCheck
from headrace.errors import InvalidInput, ManifestError

TOP: dict[str, Any] = {"properties": {"top": {"type": "integer"}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "params"),
    [({}, {}), (TOP, {}), (TOP, {"top": 3}), ({"type": "object"}, {"anything": 1}), ({"properties": {}}, {"any": 1})],
)
def test_what_the_schema_allows_is_let_through(schema: dict[str, Any], params: dict[str, Any]) -> None:
    ParamsCheck("m", schema).check(params)


@pytest.mark.parametrize(
    ("schema", "params", "told"),
    [
        ({}, {"b": 1, "a": 2}, "params for m: it has none named 'a', 'b'"),
        (TOP, {"top": 1, "tpo": 2}, "params for m: it has none named 'tpo'"),
        (TOP, {"top": "three"}, r"params\['top'\] for m: .*integer"),
        ({"required": ["top"]}, {}, '"top" is a required property'),
    ],
)
def test_anything_else_is_named(schema: dict[str, Any], params: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        ParamsCheck("m", schema).check(params)


def test_a_schema_that_leads_elsewhere_is_the_plugins_fault() -> None:
    with pytest.raises(ManifestError, match="leaves the schema"):
        ParamsCheck("m", {"$ref": "file:///etc/hostname"}).check({})
