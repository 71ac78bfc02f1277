"""Pure choice of attention strategies: a device, a number type and a model's need in, choices in order out."""

from collections.abc import Callable
from dataclasses import dataclass

from headrace.hardware.profile import DeviceProfile
from headrace.sdk.attention import AttentionNeed

#: Number types that flash-attn computes in; `auto` is bfloat16 where flash-attn runs at all.
_HALF = frozenset({"auto", "bfloat16", "float16"})
#: Compute capability from which on flash-attn 2 runs, and the major one that flash-attn 3 is written for.
_AMPERE, _HOPPER = (8, 0), 9
#: What flash-attn's kernels take: no wider heads, and a multiple of this.
_WIDEST_HEAD, _HEAD_STEP = 256, 8
#: Packages of flash-attn by version.
FLASH_PACKAGES = {3: "flash_attn_interface", 2: "flash_attn"}


@dataclass(frozen=True, slots=True)
class Choice:
    """A strategy to try."""

    name: str
    #: Why it is tried at its place, in words.
    reason: str


def select_attention(
    profile: DeviceProfile, dtype: str, need: AttentionNeed, installed: Callable[[str], bool]
) -> list[Choice]:
    """Strategies to try, the fastest first.

    Args:
        profile: What the engine owns.
        dtype: As in `BaseConfig.dtype`.
        need: What the model asks.
        installed: Whether a top-level package is installed.

    Returns:
        At least one; the last one runs everywhere.

    Example:
        >>> from headrace.sdk.device import Device
        >>> cpu = DeviceProfile(device=Device("cpu"))
        >>> select_attention(cpu, "float32", AttentionNeed(), lambda _: False)
        [Choice(name='per_sequence', reason="torch's own: flash-attn needs an NVIDIA GPU")]
    """
    obstacle = _obstacle(profile, dtype, need)
    flash = [] if obstacle else _flash(profile, installed)
    why_not = obstacle or ("flash-attn does not run" if flash else "flash-attn is not installed")
    own = f"torch's own: {why_not}"
    if need.layout == "packed":
        return [*flash, Choice("per_sequence", own)]
    paged = [Choice(f"paged|{choice.name}", choice.reason) for choice in flash]
    return [*paged, Choice("paged|sdpa", own), Choice("paged|eager", "plain products: nothing else runs")]


def _obstacle(profile: DeviceProfile, dtype: str, need: AttentionNeed) -> str:
    """Why no flash-attn can run, whatever is installed; empty if one can."""
    capability = profile.compute_capability
    if profile.device.kind != "cuda":
        return "flash-attn needs an NVIDIA GPU"
    if capability is None:
        return "the GPU does not tell its compute capability"
    if capability < _AMPERE:
        return f"flash-attn needs compute capability {_dotted(_AMPERE)}, the GPU has {_dotted(capability)}"
    if dtype not in _HALF:
        return f"flash-attn computes in half precision, not in {dtype}"
    return _obstacle_in(need)


def _obstacle_in(need: AttentionNeed) -> str:
    if need.has_windows:
        return "the model has layers that see less than all"
    if need.head_dim > _WIDEST_HEAD or need.head_dim % _HEAD_STEP:
        return f"flash-attn does not take heads of {need.head_dim}"
    return ""


def _flash(profile: DeviceProfile, installed: Callable[[str], bool]) -> list[Choice]:
    capability = profile.compute_capability or _AMPERE
    versions = [3, 2] if capability[0] == _HOPPER else [2]
    reason = f"installed, and runs on compute capability {_dotted(capability)}"
    return [Choice(f"flash_attention_{each}", reason) for each in versions if installed(FLASH_PACKAGES[each])]


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
