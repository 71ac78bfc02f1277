"""configs/default.toml is documentation: it must name what Settings reads, with its defaults."""

import re
import tomllib
from pathlib import Path

import pytest

from headrace.settings import Settings

FILE = Path(__file__).parents[2] / "configs" / "default.toml"


def test_values_in_the_file_are_the_defaults() -> None:
    for name, value in tomllib.loads(FILE.read_text()).items():
        assert Settings.model_fields[name].get_default(call_default_factory=True) == value


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_stands_in_the_file(name: str) -> None:
    assert re.search(rf"^(# )?({name} = |\[{name}\.)", FILE.read_text(), re.MULTILINE)
