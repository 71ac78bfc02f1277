import json

import numpy as np
import pytest

from headrace.cli.output import print_json, print_table


def test_json_carries_arrays_and_their_scalars(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"vector": np.arange(4, dtype=np.float32)[::2], "score": np.float32(0.5), "n": np.int64(2)})
    assert json.loads(capsys.readouterr().out) == {"vector": [0.0, 2.0], "score": 0.5, "n": 2}


def test_a_table_in_a_pipe_has_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "b"), [("1", "[red]2[/red]")])
    assert capsys.readouterr().out == "a\tb\n1\t[red]2[/red]\n"


def test_a_table_on_a_terminal_takes_names_literally(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table(("a", "b"), [("1", "[red]2[/red]")])
    assert "[red]2[/red]" in capsys.readouterr().out
