"""SendOptions: how jobs are sent."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from headrace.errors import InvalidInput

Priority = Literal["high", "normal", "low"]

#: Suffix of the list for each urgency; plain producers write to the middle one.
SUFFIXES: Mapping[Priority, str] = {"high": ".high", "normal": "", "low": ".low"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SendOptions:
    """How jobs are sent; refuses what no job can have.

    Raises:
        InvalidInput: Names the argument, and says what is allowed.
    """

    params: Mapping[str, Any] | None = None
    #: Seconds until a job that has not started is revoked.
    expires: float | None = None
    #: Seconds until a job that has not run is failed.
    deadline: float | None = None
    priority: Priority = "normal"

    def __post_init__(self) -> None:
        """Check what a caller without types may have given."""
        given: Any = self.params
        if given is not None and not (isinstance(given, Mapping) and all(isinstance(name, str) for name in given)):
            raise InvalidInput(f"params must be a mapping from names to values, not {given!r}")
        for name in ("expires", "deadline"):
            _check_seconds(name, getattr(self, name))
        # A list, say, has no hash.
        if not any(self.priority == name for name in SUFFIXES):
            names = ", ".join(map(repr, get_args(Priority)))
            raise InvalidInput(f"priority must be one of {names}, not {self.priority!r}")


def _check_seconds(name: str, given: Any) -> None:
    # A bool is a number to Python.
    if given is None or (type(given) is not bool and isinstance(given, Real) and math.isfinite(given)):
        return
    raise InvalidInput(f"{name} must be a number of seconds, or None, not {given!r}")


def digest_of(idempotency_key: Any) -> str:
    """What stands for an idempotency key in Redis.

    Raises:
        InvalidInput: If it is no text, or an empty one: all who forgot theirs would share one job.
    """
    try:
        if isinstance(idempotency_key, str) and idempotency_key:
            return hashlib.sha256(idempotency_key.encode()).hexdigest()
    except UnicodeEncodeError:
        raise InvalidInput(f"idempotency_key must be text that UTF-8 can hold, not {idempotency_key!r}") from None
    raise InvalidInput(f"idempotency_key must be text of one character at least, or None, not {idempotency_key!r}")
