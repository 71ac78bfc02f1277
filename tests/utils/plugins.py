"""Writing small plugins for tests of discovery, factory and manager."""

import json
from pathlib import Path
from typing import Any

_SOURCE = """
from headrace.sdk import ModelPluginInterface, Outcome

class Upper(ModelPluginInterface):
    def load_model(self): pass
    def infer(self, batch): return [Outcome(output=item.data["text"].upper()) for item in batch]
    def cleanup(self): pass
"""


def manifest(folder: str, **changes: Any) -> dict[str, Any]:
    """A valid manifest of a plugin in that folder; a change to None takes the field out."""
    fields: dict[str, Any] = {
        "name": folder,
        "version": "1.0.0",
        "entry_point": f"{folder}.plugin:Upper",
        "task": "upper",
        "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        "output_schema": {"type": "string"},
        "field": "text",
    }
    return {key: value for key, value in (fields | changes).items() if value is not None}


def write_plugin(folder: Path, *, source: str = _SOURCE, **changes: Any) -> Path:
    """Write a plugin into a folder and return its manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plugin.py").write_text(source)
    (folder / "__init__.py").touch()
    return write_manifest(folder, json.dumps(manifest(folder.name, **changes)))


def write_manifest(folder: Path, text: str) -> Path:
    """Write a manifest's text, right or wrong, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plugin_manifest.json"
    path.write_text(text)
    return path
