"""CostStore: what batches cost, kept between runs."""

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headrace.memory.cost import Sample
from headrace.memory.shape import Shape
from headrace.memory.trials import Trials

logger = logging.getLogger(__name__)

#: More bytes, units or seconds than there can be, and as many as a float counts one by one.
_LARGEST = 2.0**53
_UNSAFE = re.compile(r"[^a-zA-Z0-9_.-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class CostKey:
    """What costs depend on: another value of any of these is another file."""

    model: str
    version: str
    #: The device's name, as its maker calls it.
    device: str
    #: The plugin's configuration, as JSON.
    config: str

    @property
    def file_name(self) -> str:
        """Readable as far as file names go, and unique by a hash."""
        digest = hashlib.sha256("\0".join(asdict(self).values()).encode()).hexdigest()[:12]
        words = _UNSAFE.sub("_", f"{self.model}-{self.version}-{self.device}")
        return f"{words[:100]}-{digest}.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What is kept of a model."""

    #: Bytes that its weights take, and seconds that loading them took; 0 for unknown.
    weights: int = 0
    load_seconds: float = 0.0
    memory: Sequence[Sample] = ()
    time: Sequence[Sample] = ()


class CostStore:
    """One JSON file a model, configuration and device; a file that cannot be read is as none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: CostKey) -> Costs:
        """What was kept; nothing where nothing was, or what is there cannot be read."""
        try:
            kept = json.loads((self._folder / key.file_name).read_text())
            return Costs(
                weights=int(_number(kept["weights"])),
                load_seconds=_number(kept["load_seconds"]),
                memory=_samples(kept["memory"]),
                time=_samples(kept["time"]),
            )
        except FileNotFoundError:
            return Costs()
        except (OSError, ValueError, TypeError, LookupError, OverflowError) as error:
            logger.warning("costs of %s are learned anew, since what was kept cannot be read: %s", key.model, error)
            return Costs()

    def trials(self, key: CostKey) -> Trials:
        """Notes of the batches that a process may die of."""
        return Trials(self._folder, key.file_name.removesuffix(".json"))

    def save(self, key: CostKey, costs: Costs) -> None:
        """Keep costs; what prevents it is logged."""
        path = self._folder / key.file_name
        # Hazard: containers that share the folder have the same process ids.
        fresh = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(json.dumps(asdict(costs)))
            # Hazard: another worker may read it at any moment.
            fresh.replace(path)
        except OSError as error:
            logger.warning("costs of %s cannot be kept: %s", key.model, error)
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)


def _samples(rows: Any) -> list[Sample]:
    return [
        (Shape(*(int(_number(row[0][name])) for name in ("items", "units", "longest"))), _number(row[1]))
        for row in rows
    ]


def _number(kept: Any) -> float:
    """A number that memory or time can have.

    Raises:
        ValueError: If it is none.
    """
    number = float(kept)
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"{number} is neither bytes nor seconds")
    return number
