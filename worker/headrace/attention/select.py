"""Pure choice of attention strategies: a device and a number type in, names in order out."""

from collections.abc import Callable

from headrace.sdk.device import Device

#: Number types that flash-attn computes in; `auto` is bfloat16 where flash-attn runs at all.
_HALF = frozenset({"auto", "bfloat16", "float16"})


def select_attention(device: Device, dtype: str, installed: Callable[[str], bool]) -> list[str]:
    """Names of the strategies to try, the fastest first.

    Args:
        device: What the engine owns.
        dtype: As in `BaseConfig.dtype`.
        installed: Whether a top-level package is installed.

    Returns:
        At least one name; the last one runs everywhere.

    Example:
        >>> select_attention(Device("cuda"), "bfloat16", {"flash_attn"}.__contains__)
        ['flash_varlen', 'per_sequence']
    """
    flash = device.kind == "cuda" and dtype in _HALF and installed("flash_attn")
    return ["flash_varlen", "per_sequence"] if flash else ["per_sequence"]
