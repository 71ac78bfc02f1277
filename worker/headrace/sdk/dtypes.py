"""Number types: which one a device is meant to compute in."""

from pathlib import Path

import torch

from headrace.sdk.device import Device

#: CPU flags of hardware that multiplies in bfloat16.
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def choose_dtype(wanted: str, device: Device) -> torch.dtype:
    """The number type that is meant by a configuration's `dtype` on a device.

    `auto` is bfloat16 where the hardware multiplies in it, since elsewhere it is emulated and slow.
    """
    if wanted != "auto":
        chosen: torch.dtype = getattr(torch, wanted)
        return chosen
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.kind == "cuda" else cpu_has_bf16()
    return torch.bfloat16 if fast else torch.float32


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies in bfloat16; elsewhere it is emulated and slow."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    return not _BF16_FLAGS.isdisjoint(text.split())
