"""ParamsCheck: refuses the parameters of a job that its model has not declared."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NoReturn

import jsonschema_rs

from headrace.errors import InvalidInput, ManifestError

#: The schema of a model whose manifest declares no parameters.
_NONE: dict[str, Any] = {"additionalProperties": False}


class ParamsCheck:
    """A model's params schema, compiled when it is first needed."""

    def __init__(self, model: str, schema: Mapping[str, Any]) -> None:
        self._model = model
        self._schema = dict(schema) or _NONE

    @cached_property
    def _validator(self) -> Any:
        return compile_schema(self._model, self._schema)

    def check(self, params: Mapping[str, Any]) -> None:
        """Check the parameters of a job.

        Raises:
            InvalidInput: If the model takes none of that name or value.
            ManifestError: If the schema cannot be used.
        """
        try:
            self._validator.validate(dict(params))
        except jsonschema_rs.ValidationError as error:
            if list(error.schema_path) == ["additionalProperties"]:
                unknown = ", ".join(sorted(repr(name) for name in params.keys() - self._schema.get("properties", {})))
                raise InvalidInput(f"params for {self._model}: it has none named {unknown}") from None
            where = "".join(f"[{step!r}]" for step in error.instance_path)
            raise InvalidInput(f"params{where} for {self._model}: {error.message}") from None


def compile_schema(model: str, schema: Mapping[str, Any]) -> Any:
    """A validator of a schema.

    Raises:
        ManifestError: If it refers to something outside of itself.
    """
    try:
        return jsonschema_rs.validator_for(dict(schema), retriever=_retrieve_nothing)
    except ValueError as error:
        raise ManifestError(f"a schema of model {model} cannot be used: {error}") from None


def _retrieve_nothing(uri: str) -> NoReturn:
    # Security: a schema may come from Redis; it must not make a client open files or URLs.
    raise ValueError(f"$ref to {uri} leaves the schema, which is not allowed")
