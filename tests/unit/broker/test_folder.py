"""The embedded broker's folder is its user's alone."""

import os
import stat
from pathlib import Path

import pytest

from headrace.broker.folder import BrokerFolder
from headrace.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> BrokerFolder:
    return BrokerFolder(tmp_path / "state", "valkey-9")


def long_folder(tmp_path: Path) -> BrokerFolder:
    return BrokerFolder(tmp_path / ("x" * 120), "valkey-9")


def test_each_engine_and_version_has_its_own(tmp_path: Path, folder: BrokerFolder) -> None:
    assert folder.path == tmp_path / "state" / "broker" / "valkey-9"
    assert folder.url == f"redis+socket://{folder.path}/broker.sock?virtual_host=0"


def test_it_is_made_for_its_user_alone(folder: BrokerFolder) -> None:
    old = os.umask(0)
    try:
        assert not folder.exists()
        folder.create()
        folder.create()
    finally:
        os.umask(old)
    assert folder.exists()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    folder.create_socket_folder()
    assert list(folder.path.iterdir()) == []


def test_one_that_others_may_enter_is_refused(folder: BrokerFolder) -> None:
    folder.create()
    folder.path.chmod(0o750)
    for use in (folder.create, folder.exists):
        with pytest.raises(ConfigError, match="chmod 700"):
            use()


def test_one_of_another_user_is_refused(folder: BrokerFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.create()
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(ConfigError, match="HEADRACE_STATE_DIR to a folder of your own"):
        folder.create()


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"{tmp_path}/file.*HEADRACE_STATE_DIR"):
        BrokerFolder(tmp_path / "file", "valkey-9").create()


def test_relative_home_and_linked_paths_are_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    paths = [Path("s"), Path("~/s"), tmp_path / "link" / "s", tmp_path / "s"]
    assert len({BrokerFolder(path, "valkey-9").path for path in paths}) == 1


@pytest.mark.parametrize("name", ["x" * 120, "a b", "a?b", "a%20b", "ä", "a#b"])
def test_a_path_unfit_for_socket_or_url_has_its_socket_in_a_private_folder(tmp_path: Path, name: str) -> None:
    folder = BrokerFolder(tmp_path / name, "valkey-9")
    assert len(bytes(folder.socket)) < 104
    assert folder.socket.parent != folder.path
    assert folder.socket == BrokerFolder(tmp_path / name, "valkey-9").socket
    assert folder.socket != BrokerFolder(tmp_path / f"{name}y", "valkey-9").socket
    folder.create_socket_folder()
    folder.create_socket_folder()
    assert stat.S_IMODE(folder.socket.parent.stat().st_mode) == 0o700
    folder.socket.parent.rmdir()


def test_a_socket_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = long_folder(tmp_path)
    folder.socket.parent.symlink_to(tmp_path)
    try:
        with pytest.raises(ConfigError, match="is not a folder"):
            folder.create_socket_folder()
    finally:
        folder.socket.parent.unlink()


def test_a_socket_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = long_folder(tmp_path)
    folder.socket.parent.mkdir()
    folder.socket.parent.chmod(0o777)
    try:
        with pytest.raises(ConfigError, match="others may enter"):
            folder.create_socket_folder()
    finally:
        folder.socket.parent.rmdir()


def test_a_socket_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    folder = long_folder(tmp_path)
    folder.socket = tmp_path / "missing" / "deep" / "broker.sock"
    with pytest.raises(ConfigError, match="short path"):
        folder.create_socket_folder()


def test_the_logs_end_is_shown_and_its_size_is_bounded(folder: BrokerFolder) -> None:
    folder.create()
    assert folder.log_tail() == ""
    folder.rotate_log()
    folder.log.write_text("\n".join(f"line {number}" for number in range(5000)))
    assert folder.log_tail().splitlines() == [f"line {number}" for number in range(4992, 5000)]
    folder.rotate_log()
    assert [path.name for path in folder.path.iterdir()] == ["broker.log.1"]
