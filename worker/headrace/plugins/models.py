"""KnownModels: what a client may ask for."""

from collections.abc import Callable
from typing import Any

from headrace.errors import UnknownModel
from headrace.plugins.discovery import Catalog, unknown_model_message
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
