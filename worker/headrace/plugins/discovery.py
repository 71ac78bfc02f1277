"""Discovery: manifests in three places, read as JSON; nothing of a plugin is imported."""

import importlib.util
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from headrace.errors import DuplicatePlugin, ManifestError, PluginError
from headrace.plugins.catalog import Catalog, FoundPlugin, unknown_model_message
from headrace.sdk.loading import import_root
from headrace.sdk.manifest import MANIFEST_NAME, read_manifest

__all__ = ["Catalog", "FoundPlugin", "discover", "unknown_model_message"]

#: Package whose sub-folders are the plugins that come along.
_BUNDLED = "plugin_pkgs"
#: Entry points of this group name packages that hold a manifest.
_GROUP = "headrace.plugins"


def discover(search_path: Sequence[Path] = ()) -> Catalog:
    """Find plugins: those that come along, then `search_path`, then installed packages.

    Args:
        search_path: Folders that are plugins or hold plugins, one folder each.

    Returns:
        A catalog in which a broken or doubled manifest is a problem and hides no other plugin.
    """
    catalog = Catalog()
    for place in _places(search_path):
        if isinstance(place, PluginError):
            catalog.problems.append(place)
        else:
            _add(catalog, place)
    return catalog


def _places(search_path: Sequence[Path]) -> Iterator[Path | PluginError]:
    """Yield each manifest's path, or the reason why a place has none."""
    bundled = _package_folder(_BUNDLED)
    if bundled is not None:
        yield from _manifests_in(bundled)
    for folder in search_path:
        # Absolute: the engine need not run in the folder where the path was written.
        yield from _searched(folder.expanduser().absolute())
    for entry_point in sorted(entry_points(group=_GROUP)):
        yield _installed(entry_point)


def _searched(folder: Path) -> Iterator[Path | PluginError]:
    if not folder.is_dir():
        yield PluginError(f"{folder} in HEADRACE_PLUGIN_PATH is no folder: create it or take it out")
    elif (folder / MANIFEST_NAME).is_file():
        yield folder / MANIFEST_NAME
    else:
        yield from _manifests_in(folder)


def _manifests_in(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob(f"*/{MANIFEST_NAME}"))


def _installed(entry_point: EntryPoint) -> Path | PluginError:
    folder = _package_folder(entry_point.module)
    if folder is None:
        return PluginError(
            f"entry point {entry_point.name!r} of {_GROUP} names {entry_point.value}, which is no package: "
            "let it name the package that holds the manifest"
        )
    return folder / MANIFEST_NAME


def _package_folder(package: str) -> Path | None:
    # find_spec imports the parents of a dotted name, so only the first part is asked for.
    top, *rest = package.split(".")
    spec = importlib.util.find_spec(top)
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location, *rest)
        if folder.is_dir():
            return folder
    return None


def _add(catalog: Catalog, path: Path) -> None:
    try:
        manifest = read_manifest(path)
    except ManifestError as error:
        catalog.problems.append(error)
        return
    known = catalog.plugins.get(manifest.name)
    if known is None:
        root = import_root(path.parent, manifest.module)
        catalog.plugins[manifest.name] = FoundPlugin(manifest=manifest, folder=path.parent, root=root)
    elif known.folder.resolve() != path.parent.resolve():
        catalog.problems.append(
            DuplicatePlugin(
                f"{path} claims the model name {manifest.name!r}, which {known.folder / MANIFEST_NAME} has: "
                "rename one of them"
            )
        )
