"""msgpack with numpy arrays as raw bytes: results for our client, messages to an engine."""

import math
from collections.abc import Sequence
from typing import Any

import msgpack

#: msgpack extension type of an array: packed (dtype, shape), then the raw bytes.
_ARRAY = 1
#: Kinds of dtype that travel: bool, (unsigned) integer, float. Security: never object.
_KINDS = "biuf"

#: Types of a mapping's keys, as JSON has them.
_KEYS = (str, int, float, type(None))
#: Types of values that hold no others.
_PLAIN = {str, int, float, bool, type(None)}

_NUMBERS = {float, int, bool}

#: First bytes of a msgpack mapping: fixmap, map 16, map 32.
_MAP_STARTS = {bytes([first]) for first in (*range(0x80, 0x90), 0xDE, 0xDF)}


def pack(value: Any) -> bytes:
    """Encode JSON-like values, bytes and numeric numpy arrays.

    Raises:
        TypeError: If something in the value has no encoding.
    """
    packed: bytes = msgpack.packb(value, default=_encode, use_bin_type=True)
    return packed


def check(value: Any) -> None:
    """Refuse what `pack` would take and `unpack` or a reader of JSON would not give back.

    Raises:
        TypeError: If a mapping has a key that JSON has not, or something is msgpack's own.
        ValueError: If it is nested too deeply, or holds NaN or an infinite number.
    """
    try:
        _check(value)
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None


def _check(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, _KEYS):
                raise TypeError(f"a key of type {type(key).__name__} cannot be sent: use text")
            _check(item)
    elif isinstance(value, list | tuple) and not isinstance(value, msgpack.ExtType):
        _check_list(value)
    elif isinstance(value, msgpack.ExtType | msgpack.Timestamp):
        raise TypeError(f"a value of type {type(value).__name__} cannot be sent: use JSON values or numeric arrays")
    elif not _is_finite(value):
        raise ValueError("it holds NaN or an infinite number")


def _check_list(value: Sequence[Any]) -> None:
    # Performance: a list of a million numbers is looked through in C.
    kinds = set(map(type, value))
    if float in kinds and kinds <= _NUMBERS:
        if not (math.isfinite(sum(value)) or all(map(math.isfinite, value))):
            raise ValueError("it holds NaN or an infinite number")
    elif float in kinds or not kinds <= _PLAIN:
        for item in value:
            _check(item)


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if getattr(getattr(value, "dtype", None), "kind", None) != "f":
        return True
    import numpy as np

    return bool(np.isfinite(value).all())


def unpack(data: bytes) -> Any:
    """Decode what `pack` wrote; arrays are read-only views of the data."""
    return msgpack.unpackb(data, ext_hook=_decode, strict_map_key=False)


def unpacker() -> msgpack.Unpacker:
    """A streaming decoder: msgpack values delimit themselves, so a socket needs no frames."""
    return msgpack.Unpacker(ext_hook=_decode, strict_map_key=False, max_buffer_size=2**31 - 1)


def is_packed(data: bytes) -> bool:
    """Whether stored bytes are a packed mapping; JSON never starts with such a byte."""
    return data[:1] in _MAP_STARTS


def to_json(value: Any) -> Any:
    """Replace arrays and numpy scalars by lists and numbers, for readers of JSON."""
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _encode(value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        head: bytes = msgpack.packb((value.dtype.str, value.shape))
        return msgpack.ExtType(_ARRAY, head + value.tobytes())
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent: use JSON values or numeric arrays")


def _decode(code: int, data: bytes) -> Any:
    import numpy as np

    if code != _ARRAY:
        raise ValueError(f"unknown msgpack extension type {code}")
    reader = msgpack.Unpacker()
    reader.feed(data)
    dtype_name, shape = reader.unpack()
    dtype = np.dtype(dtype_name)
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array of dtype {dtype_name} is not allowed")
    return np.frombuffer(data, dtype=dtype, offset=reader.tell()).reshape(shape)
