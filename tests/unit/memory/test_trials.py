"""Trials: a note is left by a process that dies, by nobody else, and is read by those after it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.memory.allowance import Failure
from headrace.memory.shape import Shape
from headrace.memory.trials import Trials, forgive

DAY = 86_400 * 10**9
SHAPE = Shape(8, 80, 10)
#: Begins a batch of so many items, says so, and waits within it.
_TRYING = """
import sys, time
from pathlib import Path
from headrace.memory.shape import Shape
from headrace.memory.trials import Trials
with Trials(Path(sys.argv[1]), "m").noted(Shape(int(sys.argv[2]), 80, 10), 1000):
    print("trying", flush=True)
    sys.stdin.read()
"""


def _trying(folder: Path, items: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _TRYING, str(folder), str(items)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "trying\n"
    return process


def _end(process: subprocess.Popen[str], signum: int = signal.SIGKILL) -> int:
    process.send_signal(signum)
    process.communicate(timeout=20)
    return process.pid


def _items(trials: Trials) -> list[int]:
    return [death.shape.items for death in trials.left()]


def test_a_process_that_is_killed_leaves_its_note_and_one_that_lives_is_not_dead(tmp_path: Path) -> None:
    trials = Trials(tmp_path, "m")
    process = _trying(tmp_path, 8)
    assert trials.left() == []
    _end(process)
    expected = Failure(shape=SHAPE, reached=0, tried=0, room=1000, silent=True)
    # Also for those that come later: it was no one engine's own.
    assert trials.left() == trials.left() == [expected]
    assert Trials(tmp_path, "other").left() == []


def test_what_comes_to_its_end_leaves_none(tmp_path: Path) -> None:
    trials = Trials(tmp_path / "costs", "m")
    with trials.noted(SHAPE, 1000):
        (note,) = (tmp_path / "costs").iterdir()
        assert json.loads(note.read_text()) == {"items": 8, "units": 80, "longest": 10, "room": 1000}
    with pytest.raises(MemoryError), trials.noted(SHAPE, 1000):
        raise MemoryError
    assert list((tmp_path / "costs").iterdir()) == []
    assert (tmp_path / "costs").stat().st_mode & 0o777 == 0o700


def test_an_item_that_died_alone_takes_the_blame_for_those_before_it(tmp_path: Path) -> None:
    for items in (8, 4, 1, 16):
        _end(_trying(tmp_path, items))
    assert _items(Trials(tmp_path, "m")) == [16]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_death_is_forgotten_after_a_day_and_the_latest_are_kept(tmp_path: Path) -> None:
    now = time.time_ns()
    for age in range(20):
        path = tmp_path / f"m.trying-1-{now - age * DAY // 18}"
        path.write_text(json.dumps({"items": 2 + age, "units": 1, "longest": 1, "room": 1}))
    assert _items(Trials(tmp_path, "m", clock=lambda: now)) == list(range(17, 1, -1))
    assert len(list(tmp_path.iterdir())) == 16


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"items": 1, "units": 2, "longest": null}'])
def test_a_note_that_cannot_be_read_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / f"m.trying-1-{time.time_ns()}").write_text(text)
    (tmp_path / "m.trying-strange").write_text("{}")
    assert Trials(tmp_path, "m").left() == []


def test_where_no_note_can_be_written_the_batch_runs_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    trials, ran = Trials(tmp_path / "file", "m"), []
    with trials.noted(SHAPE, 1000):
        ran.append(1)
    assert ran == [1]
    assert "should the engine die of its next batch" in caplog.text
    assert trials.left() == []


def test_what_was_killed_on_purpose_is_forgiven_and_an_older_process_of_its_id_is_not(tmp_path: Path) -> None:
    before = time.time_ns()
    pid = _end(_trying(tmp_path, 8))
    other = _end(_trying(tmp_path, 4))
    (tmp_path / f"m.trying-{pid}-{before - 1}").write_text('{"items": 2, "units": 1, "longest": 1, "room": 1}')
    forgive(tmp_path, pid, before)
    assert _items(Trials(tmp_path, "m")) == [2, 4]
    forgive(tmp_path / "nowhere", other, before)
    forgive(tmp_path, os.getpid(), before)
    assert len(list(tmp_path.iterdir())) == 2
