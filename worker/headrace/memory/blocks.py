"""What a model's weights will take, block by block, read from the headers of its safetensors files."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from headrace.errors import WeightsError

#: The format's own limit of a header's bytes (https://huggingface.co/docs/safetensors).
_LARGEST_HEADER = 100_000_000
#: A layer: everything up to the first number in a parameter's name.
_LAYER = re.compile(r".*?\.\d+(?=\.)")


def read_blocks(folder: Path, *, itemsize: int | None = None) -> list[int]:
    """Bytes of each layer, and of each module outside of layers, as `plan_placement` wants them.

    The files' tensors are not read. Blocks are sorted by name, layers by number, which is the
    order in which most models run them.

    Args:
        folder: Holds the safetensors files.
        itemsize: Bytes of a number once loaded; None for as stored.

    Raises:
        WeightsError: If there are no such files, or one is cut short or malformed.
    """
    blocks: Counter[str] = Counter()
    for path in _weight_files(folder):
        for name, count, stored in _tensors(path):
            blocks[block_of(name)] += stored if itemsize is None else count * itemsize
    return [blocks[name] for name in sorted(blocks, key=_natural)]


def block_of(name: str) -> str:
    """The block that a parameter is moved with.

    Example:
        >>> block_of("model.layers.3.mlp.up_proj.weight"), block_of("model.embed_tokens.weight")
        ('model.layers.3', 'model.embed_tokens')
    """
    layer = _LAYER.match(name)
    return layer[0] if layer else name.rpartition(".")[0]


def _weight_files(folder: Path) -> Sequence[Path]:
    """What transformers would load: the files that the index names, else the one, else all that there are."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = _index_names(index)
        return [folder / name for name in names]
    single = folder / "model.safetensors"
    files = [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(f"{folder} holds no safetensors file: convert the weights to safetensors")
    return files


def _index_names(index: Path) -> Sequence[str]:
    try:
        names = sorted(map(Path, set(orjson.loads(index.read_bytes())["weight_map"].values())))
    except (OSError, KeyError, TypeError, AttributeError, orjson.JSONDecodeError) as error:
        raise _damaged(index) from error
    # Security: an index from elsewhere must not name files outside of its folder.
    if any(path.name != str(path) for path in names):
        raise _damaged(index)
    return [str(path) for path in names]


def _tensors(path: Path) -> Iterator[tuple[str, int, int]]:
    """Each tensor's name, count of numbers and stored bytes."""
    header = _header(path)
    try:
        for name, tensor in header.items():
            if name != "__metadata__":
                yield name, *_sizes(tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path) from error


def _sizes(tensor: dict[str, Any]) -> tuple[int, int]:
    begin, end = tensor["data_offsets"]
    count, stored = math.prod(tensor["shape"]), end - begin
    if not isinstance(count, int) or count < 0 or stored < 0:
        raise ValueError
    return count, stored


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            # Security: the length is whatever a file from elsewhere says.
            header = orjson.loads(file.read(min(length, _LARGEST_HEADER)))
    except (OSError, orjson.JSONDecodeError) as error:
        raise _damaged(path) from error
    if not isinstance(header, dict):
        raise _damaged(path)
    return header


def _damaged(path: Path) -> WeightsError:
    return WeightsError(f"{path} can't be read, or is no safetensors file: install or download the weights again")


def _natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    parts = name.split(".")
    return tuple((part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)
