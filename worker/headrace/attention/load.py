"""Loading of the first attention strategy that works here."""

import importlib.util
import logging
from collections.abc import Callable, Mapping
from functools import partial

from headrace.attention.select import Choice, select_attention
from headrace.errors import SetupFailed, describe
from headrace.hardware.profile import DeviceProfile
from headrace.sdk.attention import AttentionNeed, AttentionStrategy

logger = logging.getLogger(__name__)

PACKED = AttentionNeed()


def load_attention(profile: DeviceProfile, dtype: str = "auto", need: AttentionNeed = PACKED) -> AttentionStrategy:
    """The fastest attention strategy that this device, number type, model and installation allow.

    Raises:
        SetupFailed: If not even the last one can be used.
    """
    return first_that_works(select_attention(profile, dtype, need, _is_installed), CREATORS)


def first_that_works(
    choices: list[Choice], creators: Mapping[str, Callable[[], AttentionStrategy]]
) -> AttentionStrategy:
    """Try strategies in order.

    Args:
        choices: Which.
        creators: What makes each, by name.

    Raises:
        SetupFailed: If none can be used.
    """
    failed = ""
    for choice in choices:
        try:
            strategy = creators[choice.name]()
        except (ImportError, AttributeError, OSError, RuntimeError) as error:
            # An installed flash-attn may be built for another torch, CUDA or GPU.
            logger.warning("attention %s cannot be used: %s", choice.name, describe(error))
            failed = f"{choice.name} cannot be used: {describe(error)}"
        else:
            strategy.reason = failed or choice.reason
            return strategy
    raise SetupFailed(f"no attention can be computed here; the last of {len(choices)} tried, {failed}")


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _per_sequence() -> AttentionStrategy:
    from headrace.attention.per_sequence import PerSequenceAttention

    return PerSequenceAttention()


def _flash_varlen(version: int) -> AttentionStrategy:
    from headrace.attention.flash_varlen import FlashVarlenAttention

    return FlashVarlenAttention(version)


def _paged_flash(version: int) -> AttentionStrategy:
    from headrace.attention.paged_flash import PagedFlashAttention

    return PagedFlashAttention(version)


def _paged_sdpa() -> AttentionStrategy:
    from headrace.attention.paged_sdpa import PagedSdpaAttention

    return PagedSdpaAttention()


def _paged_eager() -> AttentionStrategy:
    from headrace.attention.paged_eager import PagedEagerAttention

    return PagedEagerAttention()


#: Strategies by name; a creator imports what it needs, and raises where it can't run.
CREATORS: Mapping[str, Callable[[], AttentionStrategy]] = {
    "per_sequence": _per_sequence,
    "flash_attention_2": partial(_flash_varlen, 2),
    "flash_attention_3": partial(_flash_varlen, 3),
    "paged|sdpa": _paged_sdpa,
    "paged|eager": _paged_eager,
    "paged|flash_attention_2": partial(_paged_flash, 2),
    "paged|flash_attention_3": partial(_paged_flash, 3),
}
