"""What tests of plugins share."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    """Undo what importing a plugin leaves behind, since tests reuse names."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.split(".")[0].startswith(("plug_", "hashbag")):
            del sys.modules[name]
