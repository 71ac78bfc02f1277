import socket

import pytest

from headrace.errors import ConfigError
from headrace.monitoring.flower import (
    FlowerOptions,
    all_lists,
    flower_command,
    flower_environment,
    is_loopback,
    usable_port,
)

ALL = "0.0.0.0"  # noqa: S104 - what is refused


@pytest.mark.parametrize("address", [ALL, "", "::", "192.168.0.2", "example.org"])
def test_flower_is_not_opened_to_others_without_a_password(address: str) -> None:
    assert not is_loopback(address)
    with pytest.raises(ConfigError, match="HEADRACE_FLOWER_BASIC_AUTH"):
        FlowerOptions(broker="redis://x", address=address).check()
    FlowerOptions(broker="redis://x", address=address, basic_auth="me:secret").check()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_alone_needs_no_password(address: str) -> None:
    FlowerOptions(broker="redis://x", address=address).check()


@pytest.mark.parametrize("basic_auth", ["me", ":", "me:", ":secret", "me:secret,you"])
def test_half_a_password_is_refused(basic_auth: str) -> None:
    with pytest.raises(ConfigError, match="USER:PASSWORD"):
        FlowerOptions(broker="redis://x", basic_auth=basic_auth).check()


def test_a_missing_flower_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.monitoring.flower.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"headrace\[flower\]"):
        FlowerOptions(broker="redis://x").check()


def test_secrets_are_in_the_environment_and_not_in_the_command() -> None:
    options = FlowerOptions(broker="redis://:geheim@x/0", port=1234, basic_auth="me:secret")
    environment = flower_environment(options)
    assert environment["HEADRACE_REDIS_URL"] == "redis://:geheim@x/0"
    assert environment["FLOWER_BASIC_AUTH"] == "me:secret"
    assert environment["FLOWER_PORT"] == "1234"
    assert "geheim" not in " ".join(flower_command())


@pytest.mark.parametrize(("basic_auth", "opened"), [("", "true"), ("me:secret", "false")])
def test_the_api_is_open_only_where_no_password_is_asked_for(basic_auth: str, opened: str) -> None:
    environment = flower_environment(FlowerOptions(broker="redis://x", basic_auth=basic_auth))
    assert environment["FLOWER_UNAUTHENTICATED_API"] == opened


def test_flowers_own_variables_stand_but_for_its_file_of_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_MAX_TASKS", "7")
    monkeypatch.setenv("FLOWER_PERSISTENT", "true")
    environment = flower_environment(FlowerOptions(broker="redis://x"))
    assert (environment["FLOWER_MAX_TASKS"], environment["FLOWER_PERSISTENT"]) == ("7", "false")


def test_a_taken_port_is_refused_and_0_finds_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*--port"):
            usable_port("127.0.0.1", port)
        assert usable_port("127.0.0.1", 0) not in {0, port}


def test_a_models_queue_has_a_list_for_each_priority() -> None:
    assert all_lists(["infer.m", "celery"]) == ["celery", "infer.m.high", "infer.m", "infer.m.low"]


def test_an_ipv6_address_is_a_valid_url() -> None:
    assert FlowerOptions(broker="redis://x", address="::1", port=1).url == "http://[::1]:1"
