"""PluginFactory: a found plugin in, an initialised one out."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packaging.requirements import Requirement

from headrace.errors import HeadraceError, MissingRequirement, SetupFailed, describe
from headrace.plugins.catalog import FoundPlugin
from headrace.sdk.config import BaseConfig
from headrace.sdk.device import Device
from headrace.sdk.loading import build_config, import_plugin_class
from headrace.sdk.manifest import PluginManifest
from headrace.sdk.plugin import ModelPluginInterface


class PluginFactory:
    """Creates plugins; the first place where a plugin's code is imported."""

    def __init__(self, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Nothing is imported yet.

        Args:
            overrides: The user's `[models.<name>]` tables, by model name.
        """
        self._overrides = overrides or {}

    def create(self, found: FoundPlugin, device: Device) -> ModelPluginInterface:
        """Check, import, configure and initialise a plugin; its model is not loaded yet.

        Raises:
            MissingRequirement: If a package is missing or has another version.
            PluginImportFailed: If the entry point can't be imported.
            ConfigError: If a configuration value is not allowed.
            SetupFailed: If the model doesn't run on this kind of device or `initialize` raised.
        """
        _check_device(found.manifest, device)
        plugin_class, config = self.load_class(found)
        try:
            plugin = plugin_class()
            plugin.initialize(config, device)
        except HeadraceError:
            raise
        except Exception as error:
            name = found.manifest.name
            raise SetupFailed(f"model {name}: initialize raised {describe(error)}") from error
        return plugin

    def load_class(self, found: FoundPlugin) -> tuple[type[ModelPluginInterface], BaseConfig]:
        """Check what a plugin requires, import its class and build its configuration.

        Raises:
            MissingRequirement: If a package is missing or has another version.
            PluginImportFailed: If the entry point can't be imported.
            ConfigError: If a configuration value is not allowed.
        """
        manifest = found.manifest
        for requirement in manifest.requirements:
            _check_requirement(manifest.name, Requirement(requirement))
        plugin_class = import_plugin_class(manifest, found.folder, found.root)
        return plugin_class, build_config(plugin_class, manifest, found.folder, self._overrides.get(manifest.name))


def _check_device(manifest: PluginManifest, device: Device) -> None:
    if device.kind not in manifest.devices:
        raise SetupFailed(
            f"model {manifest.name} runs on {' or '.join(manifest.devices)}, and this worker has "
            f"{device.name}: choose another with --devices"
        )


def _check_requirement(model: str, requirement: Requirement) -> None:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return
    fix = f"run: pip install '{requirement}'"
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        raise MissingRequirement(f"model {model} needs {requirement}, which is not installed; {fix}") from None
    if not requirement.specifier.contains(installed, prereleases=True):
        raise MissingRequirement(f"model {model} needs {requirement}, and {installed} is installed; {fix}")
