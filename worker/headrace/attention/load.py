"""Loading of the first attention strategy that works here."""

import importlib.util
import logging
from collections.abc import Callable

from headrace.attention.select import select_attention
from headrace.sdk.attention import AttentionStrategy
from headrace.sdk.device import Device

logger = logging.getLogger(__name__)


def load_attention(device: Device, dtype: str = "auto") -> AttentionStrategy:
    """The fastest attention strategy that this device, number type and installation allow."""
    for name in select_attention(device, dtype, _is_installed):
        try:
            return _CREATORS[name]()
        except (ImportError, OSError, RuntimeError) as error:
            # An installed flash-attn may be built for another torch, CUDA or GPU.
            logger.warning("attention %s cannot be used: %s", name, error)
    raise AssertionError("per_sequence needs nothing but torch")


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _per_sequence() -> AttentionStrategy:
    from headrace.attention.per_sequence import PerSequenceAttention

    return PerSequenceAttention()


def _flash_varlen() -> AttentionStrategy:
    from headrace.attention.flash_varlen import FlashVarlenAttention

    return FlashVarlenAttention()


#: Strategies by name; a creator imports what it needs, and raises where it can't run.
_CREATORS: dict[str, Callable[[], AttentionStrategy]] = {
    "per_sequence": _per_sequence,
    "flash_varlen": _flash_varlen,
}
