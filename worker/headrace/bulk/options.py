"""RunOptions: what `headrace run` is asked for."""

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What to run."""

    model: str
    #: The row's field that holds the input; None for the one that the manifest names.
    field: str | None = None
    #: The model's parameters for all rows.
    params: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: Inputs per job; None for about a second of a worker's time.
    chunk_size: int | None = None
    devices: str = "auto"
