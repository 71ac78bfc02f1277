"""From a manifest to a plugin class and its configuration, for the factory and the contract tests."""

import importlib
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headrace.errors import ConfigError, PluginImportFailed, describe
from headrace.sdk.config import BaseConfig
from headrace.sdk.manifest import MANIFEST_NAME, PluginManifest, describe_errors
from headrace.sdk.plugin import ModelPluginInterface
from headrace.sdk.weights import WeightSource


def import_root(folder: Path, module: str) -> Path | None:
    """The folder from which `module` imports, if the plugin's folder is one of its packages.

    Returns:
        None if the module lies elsewhere and must be importable already.

    Example:
        >>> import_root(Path("/models/upper"), "upper.plugin")
        PosixPath('/models')
    """
    packages = module.split(".")[:-1]
    for depth in range(len(packages), 0, -1):
        if list(folder.parts[-depth:]) == packages[:depth]:
            return folder.parents[depth - 1]
    return None


def import_plugin_class(manifest: PluginManifest, folder: Path, root: Path | None) -> type[ModelPluginInterface]:
    """Import a manifest's entry point.

    Args:
        manifest: What names the module and the class.
        folder: The plugin's folder.
        root: Folder to import from; None if the module is importable already.

    Raises:
        PluginImportFailed: If it does not import, comes from another folder of the same
            name, or is no ModelPluginInterface.
    """
    where = f"{folder / MANIFEST_NAME} names {manifest.entry_point}"
    if root is not None and str(root) not in sys.path:
        # Security: at the end, so that a plugin's folder can't stand in for an installed package.
        sys.path.append(str(root))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(manifest.module)
    except (Exception, SystemExit) as error:
        raise PluginImportFailed(
            f"{where}, which does not import ({describe(error)}): "
            "correct entry_point, or install what the module needs and list it under requirements"
        ) from error
    file = Path(module.__file__ or "")
    if root is not None and not file.resolve().is_relative_to(folder.resolve()):
        raise PluginImportFailed(f"{where}, but that module is {file}: rename the plugin's folder and package")
    return _plugin_class(getattr(module, manifest.class_name, None), where)


def _plugin_class(found: object, where: str) -> type[ModelPluginInterface]:
    if not isinstance(found, type) or not issubclass(found, ModelPluginInterface):
        raise PluginImportFailed(f"{where}, which is no ModelPluginInterface: derive the class from it")
    if missing := ", ".join(sorted(found.__abstractmethods__)):
        raise PluginImportFailed(f"{where}, which lacks {missing}: implement what is missing")
    return found


def build_config(
    plugin_class: type[ModelPluginInterface],
    manifest: PluginManifest,
    folder: Path,
    overrides: Mapping[str, Any] | None = None,
) -> BaseConfig:
    """Merge a plugin's TOML, its manifest's weights and the user's table, in that order.

    Raises:
        ConfigError: If the TOML can't be read or a value is not allowed.
    """
    values = _read_toml(folder / manifest.config) if manifest.config else {}
    if manifest.weights is not None:
        values.setdefault("weights", manifest.weights.relative_to(folder))
    origin = (
        f"{folder / manifest.config} or [models.{manifest.name}]" if manifest.config else f"[models.{manifest.name}]"
    )
    try:
        return plugin_class.config_class.model_validate({**_seen_from(values, folder), **(overrides or {})})
    except ValidationError as error:
        raise ConfigError(f"configuration of model {manifest.name} ({origin}): {describe_errors(error)}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; correct `config` in the manifest") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _seen_from(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Let a relative weights path in the plugin's own TOML mean a place in the plugin's folder."""
    weights = values.get("weights")
    if isinstance(weights, dict) and isinstance(weights.get("path"), str):
        source = WeightSource(path=Path(weights["path"])).relative_to(folder)
        return {**values, "weights": {**weights, "path": source.path}}
    return values
