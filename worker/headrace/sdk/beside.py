"""Params of one input, which stand beside its fields in the same object."""

from collections.abc import Set as AbstractSet
from typing import Any


def split(value: Any, names: AbstractSet[str]) -> tuple[Any, dict[str, Any]]:
    """Part an input from the params that stand beside its fields.

    Args:
        value: As a producer sent it.
        names: Of params that may stand there: `PluginManifest.beside_names`.

    Example:
        >>> split({"prompt": "Once", "max_tokens": 8}, {"max_tokens", "seed"})
        ({'prompt': 'Once'}, {'max_tokens': 8})
        >>> split("Once", {"max_tokens"})
        ('Once', {})
    """
    if not names or not isinstance(value, dict) or names.isdisjoint(value):
        return value, {}
    own = {name: each for name, each in value.items() if name in names}
    return {name: each for name, each in value.items() if name not in own}, own
