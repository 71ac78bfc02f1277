"""One batch of the plugin `paged` in a process of its own: what memory it took, and how long it was.

`python -m tests.utils.paging_run '{"folder": ..., "device_room": ..., ...}'` prints one JSON object.
"""

import gc
import hashlib
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.memory.blocks import read_blocks
from headrace.memory.paging import Rooms, plan_placement
from headrace.sdk import Item, ModelPluginInterface, Prepared
from headrace.sdk.testing import create_plugin

MANIFEST = Path(__file__).parents[1] / "plugins" / "paged" / "plugin_manifest.json"
ITEMS = [Item(input={"ids": list(range(1, length))}) for length in (3, 9, 20, 64)]


def create(folder: Path, *, offload_folder: Path | None = None, device_room: int = 0) -> ModelPluginInterface:
    """The plugin in float32, to be paged into so much memory, or not if that is 0."""
    plugin = create_plugin(MANIFEST, overrides={"weights": {"path": str(folder)}, "dtype": "float32"})
    if device_room:
        blocks = read_blocks(folder, itemsize=4)
        plugin.placement = plan_placement(
            "paged", blocks, rooms=Rooms(device=device_room), offload_folder=offload_folder
        )
    return plugin


def _status(field: str) -> int:
    """Bytes that Linux tells of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _warm_up() -> None:
    import torch
    from transformers.models.qwen3 import modeling_qwen3  # noqa: F401  imported here so that the load doesn't

    torch.set_num_threads(1)
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    gc.collect()


def _time(plugin: ModelPluginInterface, batch: Sequence[Prepared]) -> float:
    begin = time.perf_counter()
    plugin.infer(batch)
    return time.perf_counter() - begin


def _run(*, folder: str, offload_folder: str, device_room: int, data_room: int) -> dict[str, Any]:
    """Load, run and clean up.

    Args:
        folder: The model's.
        offload_folder: For paging.
        device_room: Bytes for weights, 0 for no paging.
        data_room: Bytes that this process may take beyond what it has when it begins, 0 for any.
    """
    plugin = create(Path(folder), offload_folder=Path(offload_folder), device_room=device_room)
    _warm_up()
    data, resident = _status("VmData"), _status("VmRSS")
    if data_room:
        resource.setrlimit(resource.RLIMIT_DATA, (data + data_room, data + data_room))
    plugin.load_model()
    batch = plugin.prepare(ITEMS)
    outputs = b"".join(outcome.output.tobytes() for outcome in plugin.infer(batch))
    seconds = min(_time(plugin, batch) for _ in range(5))
    peak = _status("VmHWM") - resident
    plugin.cleanup()
    return {"outputs": hashlib.sha256(outputs).hexdigest(), "peak": peak, "seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(_run(**json.loads(sys.argv[1]))))
