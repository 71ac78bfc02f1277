"""The examples in docstrings run and print what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [(ROOT / "worker", "headrace"), (ROOT, "plugin_pkgs")]


def _modules_with_examples() -> list[str]:
    files = [(root, file) for root, package in SOURCES for file in sorted((root / package).rglob("*.py"))]
    return [
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for root, file in files
        # The client's needs a worker; README and integration tests run the same lines.
        if ">>>" in file.read_text() and file.name != "client.py"
    ]


@pytest.mark.parametrize("name", _modules_with_examples())
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    assert result.attempted > 0
