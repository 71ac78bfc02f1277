"""The broker that comes along, with real servers and real users."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier

import pytest

from headrace.broker.embedded import EmbeddedBroker, running_url
from headrace.broker.server import find_server
from headrace.errors import BrokerUnavailable, ConfigError
from tests.utils.processes import BrokerUser, is_alive, parent_of
from tests.utils.servers import answers, assert_gone, connection, read, server_pid, write
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.integration


def fake_server(folder: Path, script: str, name: str = "redis-server") -> str:
    """Put a program on a PATH of its own, and return that PATH."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def as_redis_7() -> str:
    """A script that says it is Redis 7 and runs the bundled server."""
    binary = find_server(bundled=True).binary
    return f'[ "$1" = --version ] && echo "Redis server v=7.2.4 sha=0" && exit\nexec {binary} "$@"'


def test_starts_a_private_durable_server_and_ends_it(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, bundled=True) as url:
        pid = server_pid(url)
        guardian = parent_of(pid)
        with connection(url) as client:
            config = client.config_get("*")
        assert config["appendonly"] == "yes"
        assert config["appendfsync"] == "everysec"
        assert config["port"] == "0"
        assert config["save"] == ""
        assert config["maxmemory-policy"] == "noeviction"
        folder = Path(url.removeprefix("redis+socket://").partition("?")[0]).parent
        assert folder.parent == tmp_path / "broker"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "broker.sock").stat().st_mode & 0o077 == 0
        assert (folder / "appendonlydir").is_dir()
    assert not is_alive(pid), "close() of the last user waits for the server"
    assert not is_alive(guardian)
    assert not (folder / "broker.sock").exists()


def test_data_outlive_the_server(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, bundled=True) as url:
        write(url, "kept", "yes")
    with EmbeddedBroker(tmp_path, bundled=True) as url:
        assert read(url, "kept") == b"yes"


def test_six_simultaneous_starters_share_one_server(tmp_path: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(BrokerUser(tmp_path)) for _ in range(6)]
        urls = [user.url() for user in users]
        assert len(set(urls)) == 1
        assert urls[0]
        pids = {server_pid(url) for url in urls}
        assert len(pids) == 1
        guardian = parent_of(*pids)
        assert [user.leave() for user in users] == [0] * 6
    assert_gone(*pids, guardian)


def test_starters_on_threads_of_one_process_share_one_server(tmp_path: Path) -> None:
    together = Barrier(4)

    def use(_: int) -> int:
        together.wait()
        with EmbeddedBroker(tmp_path, bundled=True) as url:
            pid = server_pid(url)
            together.wait()
            return pid

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(use, range(4)))) == 1


@pytest.mark.parametrize("how", ["leave", "kill"])
def test_server_ends_with_its_last_user(tmp_path: Path, how: str) -> None:
    with BrokerUser(tmp_path) as first, BrokerUser(tmp_path) as last:
        url = first.url()
        assert last.url() == url
        pid = server_pid(url)
        guardian = parent_of(pid)
        getattr(first, how)()
        assert server_pid(url) == pid, "the other user still has it"
        getattr(last, how)()
        assert_gone(pid, guardian)
    assert running_url(tmp_path, bundled=True) is None


def test_users_that_come_while_others_go_always_find_a_server(tmp_path: Path) -> None:
    def come_and_go(name: int) -> bool:
        for turn in range(8):
            with EmbeddedBroker(tmp_path, bundled=True) as url:
                write(url, f"{name}", f"{turn}")
                if read(url, f"{name}") != f"{turn}".encode():
                    return False
        return True

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(come_and_go, range(3)))


def test_a_killed_server_comes_back_with_its_data(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, bundled=True) as url:
        write(url, "kept", "yes")
        first = server_pid(url)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not is_alive(first) and answers(url), 10)
        assert read(url, "kept") == b"yes"
        second = server_pid(url)
        assert second != first
    assert_gone(second)


def test_a_killed_guardian_takes_the_server_along_and_the_next_start_works(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, bundled=True) as url:
        write(url, "kept", "yes")
        pid = server_pid(url)
        os.kill(parent_of(pid), signal.SIGKILL)
        # At once: the old server may still answer, and must not be taken for the new one.
        with EmbeddedBroker(tmp_path, bundled=True) as again:
            assert not is_alive(pid)
            assert server_pid(again) != pid
            assert read(again, "kept") == b"yes"


def test_the_guardian_ignores_signals_meant_for_its_users(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, bundled=True) as url:
        pid = server_pid(url)
        guardian = parent_of(pid)
        assert os.getsid(guardian) != os.getsid(0)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(guardian, number)
        assert server_pid(url) == pid
    assert_gone(pid, guardian)


def test_a_program_started_by_a_user_keeps_nothing_alive(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, bundled=True) as url:
        pid = server_pid(url)
        child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, close_fds=False)
    try:
        assert_gone(pid)
    finally:
        child.communicate()


@pytest.mark.parametrize("name", ["x" * 150, "with space & ü"])
def test_a_folder_unfit_for_a_socket_gets_its_socket_elsewhere(tmp_path: Path, name: str) -> None:
    with EmbeddedBroker(tmp_path / name, bundled=True) as url:
        socket = Path(url.removeprefix("redis+socket://").partition("?")[0])
        assert socket.parent.parent == Path("/tmp")  # noqa: S108 - private and checked
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        write(url, "kept", "yes")
        with BrokerUser(tmp_path / name) as other:
            assert other.url() == url
    wait_until(lambda: not socket.parent.exists(), 5)


def test_a_server_on_path_is_used(tmp_path: Path) -> None:
    path = fake_server(tmp_path / "bin", as_redis_7())
    with BrokerUser(tmp_path, bundled=False, path=path) as user:
        url = user.url()
        assert "/broker/redis-7/" in url
        pid = server_pid(url)
        user.leave()
    assert_gone(pid)


def test_bundled_ignores_a_server_on_path(tmp_path: Path) -> None:
    path = fake_server(tmp_path / "bin", as_redis_7())
    with BrokerUser(tmp_path, bundled=True, path=path) as user:
        assert f"/broker/{find_server(bundled=True).data_name}/" in user.url()


def test_a_client_joins_a_server_that_is_up_and_starts_none(tmp_path: Path) -> None:
    client = EmbeddedBroker(tmp_path, bundled=True, start_server=False)
    with pytest.raises(BrokerUnavailable, match="headrace up"):
        client.start()
    assert not (tmp_path / "broker").exists()
    with BrokerUser(tmp_path) as user:
        url = user.url()
        assert running_url(tmp_path, bundled=True) == client.start() == url
        user.leave()
        write(url, "a client's share", "keeps the server")
        pid = server_pid(url)
    client.close()
    assert_gone(pid)
    with pytest.raises(BrokerUnavailable, match="headrace up"):
        client.start()


def test_a_server_that_exits_at_once_is_reported_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = '[ "$1" = --version ] && echo "Redis server v=7.2.4" && exit\necho "Fatal: the disk is full"; exit 1'
    monkeypatch.setenv("PATH", fake_server(tmp_path / "bin", script))
    broker = EmbeddedBroker(tmp_path, bundled=False)
    with pytest.raises(BrokerUnavailable, match="the disk is full"):
        broker.start()
    with pytest.raises(BrokerUnavailable, match="not started"):
        _ = broker.url


def test_damaged_data_are_reported_and_left_alone(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path, bundled=True) as url:
        write(url, "kept", "yes")
        folder = Path(url.removeprefix("redis+socket://").partition("?")[0]).parent
    manifest = folder / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("nonsense\n")
    with pytest.raises(BrokerUnavailable, match="AOF"):
        EmbeddedBroker(tmp_path, bundled=True).start()
    assert manifest.read_text() == "nonsense\n"


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "broker" / find_server(bundled=True).data_name
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        EmbeddedBroker(tmp_path, bundled=True).start()
