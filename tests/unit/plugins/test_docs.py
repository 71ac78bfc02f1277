"""docs/plugins.md, followed to the letter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.plugins.discovery import discover
from headrace.plugins.factory import PluginFactory
from headrace.sdk import Device, Item

PAGE = Path(__file__).parents[3] / "docs" / "plugins.md"
FILE = re.compile(r"^`(my_plugins/[\w./]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """The folder that a reader has after step 5."""
    folder = tmp_path / "my_plugins" / "hashbag"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name, text in FILE.findall(PAGE.read_text()):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path / "my_plugins"


def test_the_pages_contract_tests_pass(plugins: Path) -> None:
    # As a reader's pytest has it: none of this repository's settings.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my_plugins/hashbag"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run(
        command, cwd=plugins.parent, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_pages_plugin_is_found_and_runs(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    catalog = discover([plugins])
    assert catalog.problems == []
    plugin = PluginFactory().create(catalog.get("hashbag"), Device("cpu"))
    assert plugin.config.max_batch_size == 32
    (outcome,) = plugin.infer(plugin.prepare([Item(input={"text": "water on the wheel"})]))
    assert outcome.output.shape == (128,)
    assert outcome.output.sum() == 4
