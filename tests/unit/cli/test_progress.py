from pathlib import Path

import pytest

from headrace.bulk.run import Summary
from headrace.cli.progress import count_lines, shown_progress, throttled


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("text", "lines"), [(b"", 0), (b"a\n", 1), (b"a\nb", 2), (b"a\n\nb\n", 3)])
def test_lines_of_a_file_are_counted_and_the_file_rewound(tmp_path: Path, text: bytes, lines: int) -> None:
    path = tmp_path / "in"
    path.write_bytes(text)
    with path.open("rb") as stream:
        assert count_lines(stream) == lines
        assert stream.read() == text


def test_nothing_is_counted_if_nobody_looks(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"a\n")
    with path.open("rb") as stream:
        assert count_lines(stream) is None


@pytest.mark.usefixtures("terminal")
def test_a_device_has_no_length() -> None:
    with Path("/dev/null").open("rb") as stream:
        assert count_lines(stream) is None


def test_updates_are_throttled_but_for_the_last_one() -> None:
    now, shown = [0.0], []
    update = throttled(lambda summary: shown.append(summary.items), 10, lambda: now[0])
    for items in range(1, 11):
        now[0] += 0.03
        update(Summary(items=items))
    assert shown == [1, 5, 9, 10]


def test_off_a_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(3) as progress:
        progress(Summary(items=1))
    assert capsys.readouterr().err == ""


def test_the_bar_is_on_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with shown_progress(3) as progress:
        progress(Summary(items=3, failures=2))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2 failed" in captured.err
