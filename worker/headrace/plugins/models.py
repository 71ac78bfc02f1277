"""KnownModels: what a client may ask for."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from headrace.errors import UnknownModel
from headrace.plugins.discovery import Catalog
from headrace.sdk.manifest import PluginManifest


class KnownModels:
    """Manifests that workers have published, and those of this machine."""

    def __init__(self, published: Callable[[], dict[str, dict[str, Any]]], local: Callable[[], Catalog]) -> None:
        self._published = published
        self._local = local

    def all(self) -> dict[str, PluginManifest]:
        """Manifests by name; a published one stands over a local one."""
        here = {name: found.manifest for name, found in self._local().plugins.items()}
        return here | {name: PluginManifest.model_validate(each) for name, each in self._published().items()}

    def get(self, name: str) -> PluginManifest:
        """The manifest of a model.

        Raises:
            UnknownModel: If there is none; the message names those there are.
        """
        manifests = self.all()
        if name not in manifests:
            raise UnknownModel(unknown_model_message(name, manifests))
        return manifests[name]


def unknown_model_message(name: str, known: Iterable[str]) -> str:
    """Say which models there are, and which one may have been meant."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown model {name!r}{hint} Known models: {', '.join(names) or 'none'}"
