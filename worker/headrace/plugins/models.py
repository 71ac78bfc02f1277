"""KnownModels: what a client may ask for."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from headrace.errors import UnknownModel
from headrace.plugins.discovery import Catalog, unknown_model_message
from headrace.sdk.manifest import PluginManifest

logger = logging.getLogger(__name__)


class KnownModels:
    """Manifests that workers have published, and those of this machine."""

    def __init__(self, published: Callable[[], dict[str, dict[str, Any]]], local: Callable[[], Catalog]) -> None:
        self._published = published
        self._local = local

    def all(self) -> dict[str, PluginManifest]:
        """Manifests by name; a published one stands over a local one."""
        here = {name: found.manifest for name, found in self._local().plugins.items()}
        return here | dict(_readable(self._published()))

    def get(self, name: str) -> PluginManifest:
        """The manifest of a model.

        Raises:
            UnknownModel: If there is none; the message names those there are.
        """
        manifests = self.all()
        if name not in manifests:
            raise UnknownModel(unknown_model_message(name, manifests))
        return manifests[name]


def _readable(published: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, PluginManifest]]:
    for name, values in published.items():
        try:
            yield name, PluginManifest.model_validate(values)
        except ValidationError as error:
            # A worker of another version may say more than this client knows.
            logger.warning("the published manifest of %s is not understood here: %s", name, error)
