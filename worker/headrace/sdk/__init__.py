"""What a plugin may import of headrace, besides `headrace.errors`.

`headrace.sdk.testing` holds the tests that a plugin inherits; it needs pytest and is
imported by its own name.
"""

from headrace.sdk.attention import AttentionNeed, AttentionStrategy, PackedAttention, PagedAttention
from headrace.sdk.config import BaseConfig
from headrace.sdk.device import Device
from headrace.sdk.manifest import PluginManifest
from headrace.sdk.messages import Footprint, Item, Outcome, Prepared
from headrace.sdk.placement import Placed, Placement
from headrace.sdk.plugin import ModelPluginInterface
from headrace.sdk.weights import WeightSource

__all__ = [
    "AttentionNeed",
    "AttentionStrategy",
    "BaseConfig",
    "Device",
    "Footprint",
    "Item",
    "ModelPluginInterface",
    "Outcome",
    "PackedAttention",
    "PagedAttention",
    "Placed",
    "Placement",
    "PluginManifest",
    "Prepared",
    "WeightSource",
]
