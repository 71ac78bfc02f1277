"""The output file is complete or not there."""

import os
import stat
from pathlib import Path

import pytest

from headrace.bulk import output
from headrace.bulk.output import OutputFile, output_errors
from headrace.errors import ConfigError


def test_the_name_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old")
    with OutputFile(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
        assert (tmp_path / "out.jsonl.part").read_bytes() == b"new"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_rows_stay_in_the_part(tmp_path: Path, kind: type[BaseException]) -> None:
    path = tmp_path / "out.jsonl"
    with pytest.raises(kind) as caught, OutputFile(path) as stream:  # noqa: PT012 - rows, then the error
        stream.write(b"some")
        raise kind
    part = tmp_path / "out.jsonl.part"
    assert part.read_bytes() == b"some"
    assert str(part) in caught.value.__notes__[0]
    assert not path.exists()
    with OutputFile(path):
        assert part.read_bytes() == b"", "the next run starts afresh"


@pytest.mark.parametrize("name", ["", "missing/out.jsonl", "file/out.jsonl", "x" * 300])
def test_a_place_that_takes_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write the output"), OutputFile(tmp_path / name):
        pytest.fail("opened")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="may write"), OutputFile(tmp_path / "out"):
        pytest.fail("opened")


def test_two_runs_cannot_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with OutputFile(path) as stream:
        stream.write(b"first")
        with pytest.raises(ConfigError, match="another run"), OutputFile(path):
            pytest.fail("opened")
    assert path.read_bytes() == b"first"


def test_a_part_that_got_its_name_meanwhile_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, part = tmp_path / "out", tmp_path / "out.part"
    part.write_bytes(b"complete")
    real = output._lock

    def lock(stream: object) -> None:
        if not path.exists():
            part.replace(path)
        real(stream)

    monkeypatch.setattr(output, "_lock", lock)
    with OutputFile(path) as stream:
        assert path.read_bytes() == b"complete"
        stream.write(b"next")
    assert path.read_bytes() == b"next"


def test_a_file_system_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(output.fcntl, "flock", refuse)
    with OutputFile(tmp_path / "out") as stream:
        stream.write(b"x")
    assert (tmp_path / "out").read_bytes() == b"x"


def test_a_link_is_kept(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with OutputFile(tmp_path / "link") as stream:
        stream.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"


def test_a_device_is_written_and_not_replaced() -> None:
    with OutputFile(Path("/dev/null")) as stream:
        stream.write(b"x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert not Path("/dev/null.part").exists()
    with pytest.raises(ValueError, match="mine") as caught, OutputFile(Path("/dev/null")):
        raise ValueError("mine")
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_at_the_end_is_reported() -> None:
    with pytest.raises(ConfigError, match="No space left"), OutputFile(Path("/dev/full")) as stream:
        stream.write(b"x")


def test_a_row_that_finds_the_disk_full_is_reported() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as stream,
        pytest.raises(ConfigError, match="No space left"),
        output_errors(),
    ):
        stream.write(b"x")


def test_a_reader_that_has_closed_the_pipe_is_told_of() -> None:
    with pytest.raises(ConfigError, match="closed"), output_errors():
        raise BrokenPipeError
