"""Estimates of what a model will take of the device, before it is loaded."""

import math
from contextlib import suppress

from headrace.engine.placing import blocks_in, weight_blocks
from headrace.engine.resident import Facts
from headrace.errors import WeightsError
from headrace.memory.allowance import Allowance
from headrace.memory.shape import Shape
from headrace.memory.store import Costs
from headrace.sdk.plugin import ModelPluginInterface

#: Beyond these, what was kept is damaged: a PiB, a day.
_MOST_BYTES, _MOST_SECONDS = 2**50, 86_400.0


def estimate(plugin: ModelPluginInterface, costs: Costs) -> Facts:
    """What a plugin that was initialised will take.

    Its weights take what they took the last time, else what the plugin tells, else what their files have. Only the
    first two tell below which bytes it is hopeless to load them: the numbers may be smaller once loaded. Of these
    the smaller one counts, so that a size which was measured too large does not keep a model away for ever.

    Args:
        plugin: Of the model.
        costs: What was kept of an earlier load.

    Raises:
        WeightsError: If the plugin pages its weights, and they cannot be read.
    """
    config, footprint = plugin.config, plugin.footprint()
    batch = Allowance(lambda: 0.0, per_unit=footprint.per_unit)
    batch.restore(costs.memory, costs.time)
    told = [count for count in (_bytes(costs.weights), _bytes(footprint.weights)) if count]
    blocks = sum(weight_blocks(plugin)) if plugin.pages_weights else 0
    return Facts(
        weights=blocks or (told[0] if told else _file_bytes(plugin)),
        least=0 if blocks else min(told, default=0),
        batch=_bytes(batch.bound(Shape(1, 1, 1))),
        pages=bool(blocks),
        load_seconds=_plausible(costs.load_seconds, _MOST_SECONDS),
        pinned=config.pinned,
        keep_alive=config.keep_alive,
    )


def _bytes(count: float) -> int:
    return int(_plausible(count, _MOST_BYTES))


def _plausible(number: float, most: float) -> float:
    return number if math.isfinite(number) and 0 <= number <= most else 0


def _file_bytes(plugin: ModelPluginInterface) -> int:
    """Bytes of the weights' files, where they are on this machine."""
    source = plugin.config.weights
    folder = source.find() if source else None
    with suppress(WeightsError):
        return sum(blocks_in(folder, plugin)) if folder else 0
    return 0
