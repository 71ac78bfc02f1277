"""The lines of `headrace run`: JSON Lines in, JSON Lines out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from headrace.errors import HeadraceError, InvalidLine, PluginError

#: Most bytes of one line; a longer one is skipped without ever being in memory.
MAX_LINE_BYTES = 16 * 2**20

_BOM = b"\xef\xbb\xbf"
_MOST_KEYS_SHOWN = 5
_JSON_NAMES = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean"}
_JSON_NAMES[type(None)] = "null"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the input file: an input, or the reason why there is none."""

    #: Number of the line in the file, from 1, blank lines included.
    number: int
    #: The line's own, else `line-<number>`; two lines may have the same.
    custom_id: str | int
    #: What the model gets; None if and only if there is an error.
    input: dict[str, Any] | None = None
    error: HeadraceError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """What of a line is for the model."""

    #: The field in the file, and the model's input field that its value goes to.
    name: str
    target: str
    #: Other fields that an input may have, and params that may stand beside them.
    others: frozenset[str] = frozenset()
    params: frozenset[str] = frozenset()

    def input_of(self, line: dict[str, Any]) -> dict[str, Any] | None:
        """The input that a line has; None if it has none."""
        found = {name: line[name] for name in line if name in self.others and name != self.name}
        if self.name in line:
            found[self.target] = line[self.name]
        return found | {name: line[name] for name in line if name in self.params} if found else None


def read_rows(stream: BinaryIO, fields: Fields, *, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Row]:
    """Read lines `{"custom_id"?, <field>: ...}`: a row for each that is not blank, the bad ones too.

    Args:
        stream: The file; at most one line of it is in memory.
        fields: What of a line is for the model.
        max_line_bytes: Most bytes of one line.

    Example:
        >>> import io
        >>> fields = Fields(name="body", target="text", params=frozenset({"seed"}))
        >>> [row.input for row in read_rows(io.BytesIO(b'{"body": "hi", "seed": 3, "day": 4}'), fields)]
        [{'text': 'hi', 'seed': 3}]
    """
    for number, line in _lines(stream, max_line_bytes):
        try:
            yield _row(number, line, fields)
        except InvalidLine as error:
            yield Row(number=number, custom_id=f"line-{number}", error=error)


def write_row(
    stream: BinaryIO, custom_id: str | int, output: Any, error: HeadraceError | None = None
) -> HeadraceError | None:
    """Write one line `{"custom_id", "output", "error"}`, and return the error that it has.

    An output that JSON cannot carry becomes an error. Float32 arrays are written with the
    fewest digits that give the same float32 back.
    """
    if error is None:
        try:
            stream.write(_encode(custom_id, output))
        except PluginError as refusal:
            error = refusal
        else:
            return None
    wire = {"code": error.code, "message": _printable(str(error))}
    stream.write(orjson.dumps({"custom_id": custom_id, "output": None, "error": wire}, option=_OPTIONS))
    return error


def _lines(stream: BinaryIO, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Number and bytes of each line that is not blank; None for one that is too long."""
    number = 0
    while raw := stream.readline(limit + 1):
        number += 1
        line = raw.removeprefix(_BOM) if number == 1 else raw
        if len(raw) > limit and not raw.endswith(b"\n"):
            # Performance: a line of 10 GB passes through here piece by piece.
            while (raw := stream.readline(limit + 1)) and not raw.endswith(b"\n"):
                pass
            yield number, None
        elif line.strip():
            yield number, line


def _row(number: int, line: bytes | None, fields: Fields) -> Row:
    value = _parse(number, line)
    custom_id = _custom_id(number, value)
    if given := fields.input_of(value):
        return Row(number=number, custom_id=custom_id, input=given)
    names = ", ".join(repr(name[:40]) for name in list(value)[:_MOST_KEYS_SHOWN]) or "nothing"
    error = InvalidLine(f"line {number} has no field {fields.name!r} but {names}: choose the field with --field")
    return Row(number=number, custom_id=custom_id, error=error)


def _parse(number: int, line: bytes | None) -> dict[str, Any]:
    if line is None:
        raise InvalidLine(f"line {number} is too long: split its input")
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidLine(f"line {number} is not JSON: {_flaw(line, error)}") from None
    if not isinstance(value, dict):
        raise InvalidLine(f"line {number} is not a JSON object but {_JSON_NAMES[type(value)]}")
    return value


def _flaw(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as flaw:
        return f"byte {flaw.start + 1} is not UTF-8"
    return f"column {error.colno}: {error.msg}"


def _custom_id(number: int, value: dict[str, Any]) -> str | int:
    custom_id = value.get("custom_id")
    if custom_id is None:
        return f"line-{number}"
    # A bool is an int to Python, and not to whoever wrote the file.
    if isinstance(custom_id, str | int) and not isinstance(custom_id, bool):
        return custom_id
    raise InvalidLine(f"line {number}: custom_id is no string or 64-bit integer: change it or leave it out")


def _encode(custom_id: str | int, output: Any) -> bytes:
    row = {"custom_id": custom_id, "output": output, "error": None}
    try:
        line = orjson.dumps(row, default=_plain, option=_OPTIONS)
    except TypeError as error:
        raise PluginError(f"the output for {custom_id!r} cannot be written as JSON: {error}") from None
    # orjson writes NaN as null: look closer where there is a null besides the error's own.
    if line.count(b"null") > 1 and not _is_finite(output):
        raise PluginError(f"the output for {custom_id!r} has NaN or infinity, which JSON cannot carry")
    return line


def _plain(value: Any) -> Any:
    """Replace an array that orjson does not take (strided, or a scalar) by what it does."""
    import numpy as np

    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "biuf":
        raise TypeError(f"it holds a {type(value).__name__}")
    if value.ndim == 0:
        return value.item()
    return np.ascontiguousarray(value)


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    if isinstance(value, float):
        return math.isfinite(value)
    if hasattr(value, "dtype"):
        import numpy as np

        return bool(np.isfinite(value).all())
    return True


def _printable(text: str) -> str:
    """Escape what is not UTF-8, such as half of a surrogate pair in a library's message."""
    return text.encode(errors="backslashreplace").decode()
