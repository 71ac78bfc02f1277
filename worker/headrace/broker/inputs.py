"""InputCheck: refuses an input before anything is queued."""

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import jsonschema_rs
import orjson

from headrace.broker.params import ParamsCheck, compile_schema
from headrace.errors import InputTooLarge, InvalidInput
from headrace.sdk.beside import split


class InputCheck:
    """A model's input schema, compiled, and the limit on an input's size."""

    def __init__(
        self,
        model: str,
        schema: dict[str, Any],
        *,
        params_schema: dict[str, Any] | None = None,
        beside: AbstractSet[str] = frozenset(),
        max_input_bytes: int,
    ) -> None:
        """Compile the schemas.

        Args:
            model: Its name.
            schema: Of its inputs.
            params_schema: Of a job's params; None for a model that takes none.
            beside: Params that may stand beside an input.
            max_input_bytes: Of an input's JSON.
        """
        self._model = model
        self._validator = compile_schema(model, schema)
        self._params = ParamsCheck(model, params_schema or {})
        self._beside = beside
        self._max_input_bytes = max_input_bytes

    def size(self, value: Any) -> int:
        """Check an input, and return the bytes of its JSON.

        Raises:
            InvalidInput: If it is not JSON, or the schema rejects it.
            InputTooLarge: If its JSON is larger than `max_input_bytes`.
        """
        try:
            encoded = orjson.dumps(value)
        except (TypeError, orjson.JSONEncodeError) as error:
            raise InvalidInput(f"input for {self._model} is not JSON: {error}") from None
        size = len(encoded)
        # orjson writes null for what JSON has no word for.
        if b"null" in encoded and _has_no_json(value):
            raise InvalidInput(f"input for {self._model} is not JSON: it holds NaN or an infinite number")
        if size > self._max_input_bytes:
            raise InputTooLarge(
                f"input for {self._model} has {size} bytes, more than max_input_bytes = {self._max_input_bytes}: "
                "split it or raise HEADRACE_MAX_INPUT_BYTES"
            )
        given, own = split(value, self._beside)
        if own:
            self._params.check(own)
        try:
            self._validator.validate(given)
        except jsonschema_rs.ValidationError as error:
            where = "".join(f"[{step!r}]" for step in error.instance_path)
            raise InvalidInput(f"input{where} for {self._model}: {error.message}") from None
        return size

    def sized(self, value: Any) -> tuple[Any, int]:
        """An input with the bytes of its JSON.

        Raises:
            InvalidInput: As `size`.
        """
        return value, self.size(value)

    def check_params(self, params: Mapping[str, Any]) -> None:
        """Check the parameters of a job.

        Raises:
            InvalidInput: If the model takes none of that name or value.
        """
        self._params.check(params)


def _has_no_json(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_no_json, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_no_json, value))
