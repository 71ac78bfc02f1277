"""A plain connection: URLs as Celery writes them, and errors that say what to do."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from headrace.broker.connection import broker_errors, connect, ping, redact, secured
from headrace.errors import BrokerUnavailable, ConfigError, InvalidInput
from headrace.settings import Settings

HASTY = Settings(redis_url=None, connect_timeout=0.1)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@localhost:6379/0", "redis://***@localhost:6379/0"),
        ("rediss://user:secret@host/1?ssl_cert_reqs=none", "rediss://***@host/1?ssl_cert_reqs=none"),
        ("redis://:se@cr:et@host", "redis://***@host"),
        ("user:secret@host:6379", "***@host:6379"),
        ("redis+socket:///run/redis.sock?virtual_host=0", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("", ""),
    ],
)
def test_a_redacted_url_lacks_its_password_only(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(("query", "database"), [("", 0), ("?virtual_host=0", 0), ("?virtual_host=2", 2)])
def test_a_socket_url_names_its_database_as_celery_does(
    url: str, settings: Settings, query: str, database: int
) -> None:
    with connect(url.partition("?")[0] + query, settings) as client:
        info: Any = client.client_info()
        assert info["db"] == database


@pytest.mark.parametrize(
    "bad", ["http://:secret@host", "host:6379", "redis://:secret@host:port/0", "redis+socket:///s?virtual_host=one"]
)
def test_what_is_no_redis_url_is_refused_without_its_password(bad: str) -> None:
    with pytest.raises(ConfigError, match="HEADRACE_REDIS_URL") as caught:
        connect(bad, HASTY)
    assert "secret" not in str(caught.value)


def test_a_redis_that_hangs_is_reported_as_soon_as_one_that_is_away() -> None:
    usual, told = (connect("redis://h", HASTY, timeout=each).get_connection_kwargs() for each in (None, 0.5))
    assert (usual["socket_timeout"], told["socket_timeout"]) == (HASTY.connect_timeout, 0.5)
    assert usual["socket_connect_timeout"] == told["socket_connect_timeout"] == 0.1


def test_a_ping_that_is_answered_leaves_no_connection_behind(url: str, settings: Settings, client: redis.Redis) -> None:
    before = len(client.client_list())
    ping(url, settings)
    assert len(client.client_list()) == before


def test_a_redis_that_hangs_is_reported_in_time(silent_port: int) -> None:
    begin = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=str(silent_port)):
        ping(f"redis://127.0.0.1:{silent_port}/0", HASTY)
    assert time.monotonic() - begin < 5


def test_a_redis_that_is_away_is_reported_without_the_password(free_port: int) -> None:
    with pytest.raises(BrokerUnavailable, match="is it running") as caught:
        ping(f"redis://:secret@127.0.0.1:{free_port}/0", HASTY)
    assert "secret" not in str(caught.value)


def test_a_redis_that_wants_a_password_is_reported(url: str, settings: Settings, client: redis.Redis) -> None:
    client.config_set("requirepass", "secret")
    try:
        with pytest.raises(BrokerUnavailable, match="Authentication required"):
            ping(url, settings)
    finally:
        client.config_set("requirepass", "")


@pytest.mark.parametrize("error", [redis.ConnectionError("cut"), redis.TimeoutError("late"), OSError(2, "none")])
def test_errors_of_redis_become_one_that_says_what_to_do(error: Exception) -> None:
    words = r"\*\*\*@host.*HEADRACE_REDIS_URL"
    with pytest.raises(BrokerUnavailable, match=words) as caught, broker_errors("redis://:secret@host"):
        raise error
    assert caught.value.__cause__ is error
    assert str(error) in str(caught.value)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (redis.exceptions.OutOfMemoryError("command not allowed. script: f0, on @user_script:19."), "it is full: free"),
        (redis.ReadOnlyError("You can't write against a read only replica. script: f0"), "a replica: name its primary"),
        (redis.ResponseError("MISCONF no disk script: f0"), "MISCONF no disk"),
    ],
)
def test_a_refusal_is_told_without_the_script_that_met_it(error: Exception, told: str) -> None:
    with (
        pytest.raises(BrokerUnavailable, match=rf"\*\*\*@host refuses: .*{told}") as caught,
        broker_errors("redis://:s@host"),
    ):
        raise error
    assert "f0" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("x"), InvalidInput("x"), KeyboardInterrupt()])
def test_other_errors_stay_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, broker_errors("redis://host"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("query", "checked"),
    [("", "required"), ("?ssl_cert_reqs=CERT_NONE", "none"), ("?ssl_cert_reqs=optional", "optional")],
)
def test_certificates_are_checked_unless_the_url_says_otherwise(query: str, checked: str) -> None:
    url = secured(f"rediss://user:pass@host:1/0{query}")
    assert url == f"rediss://user:pass@host:1/0?ssl_cert_reqs={checked}"
    assert connect(url, HASTY).connection_pool.connection_kwargs["ssl_cert_reqs"] == checked


def test_other_options_of_a_url_stay() -> None:
    assert "ssl_ca_certs=/etc/ca.pem" in secured("rediss://host/0?ssl_ca_certs=/etc/ca.pem")
    assert secured("redis://host/0?a=b") == "redis://host/0?a=b"


def test_a_socket_url_may_carry_a_password(client: redis.Redis, url: str, settings: Settings) -> None:
    client.config_set("requirepass", "secret")
    try:
        ping(url.replace("redis+socket://", "redis+socket://:secret@"), settings)
    finally:
        with connect(url.replace("redis+socket://", "redis+socket://:secret@"), settings) as known:
            known.config_set("requirepass", "")
