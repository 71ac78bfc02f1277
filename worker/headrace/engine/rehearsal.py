"""Rehearsal: a few made-up batches after loading, so that the first real ones are as large as they can be."""

import logging
import time
from collections.abc import Iterator

from headrace.engine.guard import MemoryGuard
from headrace.engine.prepare import has_good_size
from headrace.memory.shape import Shape
from headrace.sdk.config import BaseConfig
from headrace.sdk.continuous import ContinuousPluginInterface
from headrace.sdk.messages import Prepared
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

#: Sizes of the made-up items, and how many of each run together.
_SIZES, _COUNTS = (16, 64, 256), (1, 4, 16)
#: Seconds after which no other batch begins.
_LONGEST = 2.0


def rehearse(model: str, plugin: ModelPluginInterface, guard: MemoryGuard) -> None:
    """Measure what made-up batches cost; whatever goes wrong is only logged."""
    begin = time.monotonic()
    try:
        for batch in _batches(plugin):
            if time.monotonic() - begin > _LONGEST:
                break
            if len(batch) == 1 or not guard.outdated([each.size for each in batch]):
                guard.infer(plugin, batch)
    except Exception:
        logger.exception("model %s: what batches cost is learned from its jobs, since made-up ones failed", model)


def _batches(plugin: ModelPluginInterface) -> Iterator[list[Prepared]]:
    """From small to large, each shape once."""
    seen: set[Shape] = set()
    # What runs step by step takes as much of the device for one prompt as for many.
    for count in (1,) if isinstance(plugin, ContinuousPluginInterface) else _COUNTS:
        for size in _SIZES:
            item = plugin.sample(size)
            if item is None:
                return
            if not has_good_size(item):
                logger.warning("made-up items are not run: sample(%d) gave the size %r", size, item.size)
                return
            shape = Shape.of([item.size] * count)
            if shape not in seen and _allowed(shape, plugin.config):
                seen.add(shape)
                yield [item] * count


def _allowed(shape: Shape, config: BaseConfig) -> bool:
    """Whether a plan would have such a batch; a lone item runs whatever its size."""
    most, tokens = config.max_batch_size or shape.items, config.max_batch_tokens or shape.padded
    return shape.items == 1 or (shape.items <= most and shape.padded <= tokens)
