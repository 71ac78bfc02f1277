"""What passes between the framework and a plugin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import HeadraceError


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One input of one job, as the producer sent it."""

    #: The JSON value that the manifest's `input_schema` describes.
    input: Any
    #: The job's keyword arguments; jobs with different params may share a batch.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: 1, and one more for each worker that died while the job ran.
    attempt: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """An item ready for `infer`, or the reason why it can't run."""

    #: Cost in the plugin's own unit (tokens, pixels, samples), from 0 to 2**40; batches are packed by it.
    size: int = 1
    #: Whatever `infer` wants: token ids, a decoded image.
    data: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    #: Set when the item is refused; it is then answered with this error and never batched.
    error: HeadraceError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """An item's output or its error, never both."""

    output: Any = None
    error: HeadraceError | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an output."""
        return self.error is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """What a plugin expects to need of the device before anything was measured."""

    #: Bytes that the weights take once loaded.
    weights: int = 0
    #: Bytes of activations for one unit of `Prepared.size`.
    per_unit: int = 0
