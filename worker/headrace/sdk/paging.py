"""Loading a transformers model by its Placement: what does not fit on the device waits on the host or on disk."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import MissingRequirement, ModelTooLarge, SetupFailed
from headrace.sdk.device import Device
from headrace.sdk.offload import fresh_folder, remove_folder
from headrace.sdk.placement import Placed, Placement

if TYPE_CHECKING:
    import torch

#: From the file's owner, never from the network, and never code or a pickle.
_SAFELY = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False}


def load_pretrained(
    auto_class: Any,
    folder: Path,
    *,
    dtype: "torch.dtype",
    device: Device,
    placement: Placement | None = None,
    attn_implementation: str | None = None,
) -> Any:
    """Load a transformers model, with its weights where the placement says.

    A paged model computes on the device all the same: each module's weights are brought there for
    its turn and dropped after it. Outputs are those of the model unpaged, at the price of reading
    the weights again for each batch, so larger batches pay it less often. On a CPU, weights are
    read where they lie, in the model's own files, unless the model merges them as it loads.

    A GPU's part of this (weights on the host, weights from disk to the GPU) has never run: there
    was none.

    Args:
        auto_class: `AutoModel`, `AutoModelForCausalLM` ..., or a model's own class.
        folder: Holds config and safetensors.
        dtype: Number type of the weights once loaded.
        device: Where the model computes.
        placement: The plugin's `placement`; None puts all weights on the device.
        attn_implementation: `sdpa`, `eager` ...; None for the model's own choice.

    Returns:
        The model, in evaluation mode. Don't move it to another device.

    Raises:
        ModelTooLarge: If the weights that are on the device together surpass the limit after all.
        MissingRequirement: If it is to be paged and accelerate is not installed.
        SetupFailed: If the offload folder can't be made.
    """
    options: dict[str, Any] = {**_SAFELY, "dtype": dtype}
    if attn_implementation is not None:
        options["attn_implementation"] = attn_implementation
    if placement is None or not placement.paged:
        return auto_class.from_pretrained(folder, **options).to(device.torch_name)
    options |= _paging_options(placement, device)
    model = auto_class.from_pretrained(folder, device_map="auto", **options)
    _check(read_placed(model, device), placement, device, folder)
    return model


def read_placed(model: Any, device: Device) -> Placed:
    """Where the parameters of a loaded model are, told by the parameters themselves.

    One that holds memory is where that is; one that holds none waits where `hf_device_map` says.

    Raises:
        SetupFailed: If a parameter holds no memory though it should be on the device.
    """
    waiting: dict[str, Any] = getattr(model, "hf_device_map", {})
    counts = {"device": 0, "host": 0, "disk": 0}
    for name, parameter in model.named_parameters():
        counts[_place(name, parameter, waiting, device)] += parameter.nbytes
    return Placed(
        on_device=counts["device"], on_host=counts["host"], on_disk=counts["disk"], largest=_largest_waiting(model)
    )


def release(placement: Placement | None) -> None:
    """Remove the offload folder; call it in `cleanup`, once the model is dropped."""
    if placement is not None and placement.offload_folder is not None:
        remove_folder(placement.offload_folder)


def max_memory(placement: Placement, device: Device) -> dict[int | str, int]:
    """What accelerate may fill, bytes by device; the rest goes to disk.

    Example:
        >>> place = Placement(on_device=5, on_disk=9, device_limit=7, host_limit=3, reason="")
        >>> max_memory(place, Device("cpu")), max_memory(place, Device("cuda"))
        ({'cpu': 7}, {0: 7, 'cpu': 3})
    """
    if device.kind == "cpu":
        return {"cpu": placement.device_limit}
    return {0: placement.device_limit, "cpu": placement.host_limit}


def _paging_options(placement: Placement, device: Device) -> dict[str, Any]:
    if importlib.util.find_spec("accelerate") is None:
        raise MissingRequirement("the model must be paged, which needs accelerate: pip install accelerate")
    if placement.offload_folder is None:
        raise SetupFailed("the placement is paged and names no offload folder: whoever made it must set one")
    return {
        "max_memory": max_memory(placement, device),
        "offload_folder": str(fresh_folder(placement.offload_folder)),
    }


def _place(name: str, parameter: Any, waiting: dict[str, Any], device: Device) -> str:
    if not parameter.is_meta:
        return "device" if parameter.device.type == device.kind else "host"
    place = _deepest(name, waiting)
    if place == "disk":
        return "disk"
    if place == "cpu" and device.kind != "cpu":
        return "host"
    raise SetupFailed(f"parameter {name} was not loaded, though it should be on {device.name}")


def _deepest(name: str, waiting: dict[str, Any]) -> Any:
    """Where the closest module above a parameter waits."""
    while name and name not in waiting:
        name = name.rpartition(".")[0]
    return waiting.get(name)


def _largest_waiting(model: Any) -> int:
    """Bytes of the largest module, without those below it, that waits elsewhere than on the device."""
    return max(
        (sum(each.nbytes for each in module.parameters(recurse=False) if each.is_meta) for module in model.modules()),
        default=0,
    )


def _check(placed: Placed, placement: Placement, device: Device, folder: Path) -> None:
    if placed.on_device + placed.largest > placement.device_limit:
        raise ModelTooLarge(
            f"{folder} does not fit: {placed.on_device:,} bytes of its weights and its largest other module "
            f"({placed.largest:,}) would be on the device together, and {placement.device_limit:,} are free there; "
            "use a larger device or a smaller dtype"
        )
    # accelerate computes where weights stay: with none on the GPU, on the CPU.
    if device.kind != "cpu" and placed.on_device == 0:
        raise ModelTooLarge(
            f"{folder} does not fit: none of its weights can stay on {device.name}, where "
            f"{placement.device_limit:,} bytes are free; use a larger device or a smaller dtype"
        )
