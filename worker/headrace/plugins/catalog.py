"""Catalog: the plugins of this machine, and what is wrong with those that can't be used."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from headrace.errors import PluginError, UnknownModel
from headrace.sdk.manifest import PluginManifest


@dataclass(frozen=True, kw_only=True)
class FoundPlugin:
    """A plugin whose manifest was read; nothing of it was imported."""

    manifest: PluginManifest
    #: Folder of the manifest.
    folder: Path
    #: Folder that must be on `sys.path` for the entry point; None if it is importable already.
    root: Path | None


@dataclass
class Catalog:
    """Plugins by name."""

    plugins: dict[str, FoundPlugin] = field(default_factory=dict)
    #: One error for each manifest that is left out.
    problems: list[PluginError] = field(default_factory=list)

    def get(self, name: str) -> FoundPlugin:
        """The plugin of a model.

        Raises:
            UnknownModel: If there is none; the message names those there are and, where there
                are any, the manifests that were left out.
        """
        if name in self.plugins:
            return self.plugins[name]
        left_out = "".join(f"; left out: {problem}" for problem in self.problems)
        raise UnknownModel(unknown_model_message(name, self.plugins) + left_out)


def unknown_model_message(name: str, known: Iterable[str]) -> str:
    """Say which models there are, and which one may have been meant.

    Example:
        >>> unknown_model_message("minilmm", ["minilm"])
        "unknown model 'minilmm': did you mean 'minilm'? Known models: minilm"
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f": did you mean {close[0]!r}?" if close else "."
    return f"unknown model {name!r}{hint} Known models: {', '.join(names) or 'none'}"
