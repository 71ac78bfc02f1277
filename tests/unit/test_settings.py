"""Settings: defaults, then the file, then the environment; what is wrong is named."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.errors import ConfigError
from headrace.settings import Settings, child_environment, get_settings, unknown_variables


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None of our variables are set, and nothing was read."""
    for name in list(os.environ):
        if name.startswith("HEADRACE_") or name in {"REDIS_URL", "XDG_STATE_HOME"}:
            monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where HEADRACE_CONFIG points to."""
    path = tmp_path / "headrace.toml"
    monkeypatch.setenv("HEADRACE_CONFIG", str(path))
    return path


def test_a_state_folder_is_where_the_desktop_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_settings().state_dir == Path.home() / ".local" / "state" / "headrace"
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    get_settings.cache_clear()
    assert get_settings().state_dir == Path("/elsewhere/headrace")


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_settings()
    monkeypatch.setenv("HEADRACE_RESULT_EXPIRES", "5")
    assert get_settings() is first


def test_the_environment_goes_over_the_file_and_that_over_the_defaults(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(
        'result_expires = 5\nmax_input_bytes = 6\nredis_url = "redis://file"\n[models.m]\ndtype = "float32"\n'
    )
    monkeypatch.setenv("HEADRACE_RESULT_EXPIRES", "7")
    settings = get_settings()
    assert (settings.result_expires, settings.max_input_bytes, settings.connect_timeout) == (7, 6, 3.0)
    assert settings.redis_url == "redis://file"
    assert settings.models == {"m": {"dtype": "float32"}}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "redis://file"),
        ({"REDIS_URL": "redis://plain"}, "redis://plain"),
        ({"HEADRACE_REDIS_URL": "redis://own"}, "redis://own"),
        ({"REDIS_URL": "redis://plain", "HEADRACE_REDIS_URL": "redis://own"}, "redis://own"),
    ],
)
def test_our_own_variable_for_redis_goes_over_the_common_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    file.write_text('redis_url = "redis://file"')
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert get_settings().redis_url == expected


@pytest.mark.parametrize(("text", "folders"), [("", []), ("/a", ["/a"]), ("/a:/b", ["/a", "/b"]), (":/a:", ["/a"])])
def test_plugin_folders_are_separated_as_in_path(
    monkeypatch: pytest.MonkeyPatch, text: str, folders: list[str]
) -> None:
    monkeypatch.setenv("HEADRACE_PLUGIN_PATH", text)
    assert get_settings().plugin_path == list(map(Path, folders))


def test_plugin_folders_are_a_list_in_the_file(file: Path) -> None:
    file.write_text('plugin_path = ["/a", "b:c"]')
    assert get_settings().plugin_path == [Path("/a"), Path("b:c")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("result_expires", "0"),
        ("result_expires", "soon"),
        ("max_input_bytes", "0"),
        ("max_queue_delay_ms", "-1"),
        ("load_time_limit", "0"),
        ("connect_timeout", "0"),
        ("broker", "rabbit"),
        ("virtual_memory", "0"),
        ("virtual_memory", "plenty"),
        ("virtual_memory", "1e30GiB"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"HEADRACE_{name.upper()}", value)
    with pytest.raises(ConfigError, match=f"setting {name}: "):
        get_settings()


@pytest.mark.parametrize("value", ["", "a:", "a_b-", "-", "x.y."])
def test_a_prefix_ends_with_a_mark(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HEADRACE_KEY_PREFIX", value)
    assert get_settings().key_prefix == value


@pytest.mark.parametrize("value", ["a", "a:b", "a b:", "ü:", "a\n:", " :"])
def test_a_prefix_without_one_is_refused_in_words(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HEADRACE_KEY_PREFIX", value)
    with pytest.raises(ConfigError, match=r"setting key_prefix: must be .* must end with one of : _ - \., not"):
        get_settings()


def test_variables_that_are_no_settings_are_found_with_what_may_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    known = ("CONFIG", "REDIS_URL", "FLOWER_BASIC_AUTH", "KEY_PREFIX", "redis_url")
    kubernetes = ("REDIS_SERVICE_HOST", "PORT", "REDIS_PORT_6379_TCP", "REDIS_PORT_6379_TCP_ADDR")
    for name in (*known, *kubernetes, "REDIS_ULR", "max_queuesize", "ZZZZ"):
        monkeypatch.setenv(f"HEADRACE_{name}", "x:")
    assert unknown_variables() == {
        "HEADRACE_REDIS_ULR": "HEADRACE_REDIS_URL",
        "HEADRACE_ZZZZ": "",
        "HEADRACE_max_queuesize": "HEADRACE_MAX_QUEUE_SIZE",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("result_expire = 5", "setting result_expire: "),
        ("[models]\nm = 5", r"setting models\.m: "),
        ("result_expires = ", "cannot be read"),
        (b"\xff", "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_refused(file: Path, text: str | bytes, message: str) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        get_settings()


def test_a_file_that_is_not_there_is_not_ignored(file: Path) -> None:
    with pytest.raises(ConfigError, match=f"names {file}, which is no file"):
        get_settings()


def test_settings_do_not_change_and_know_no_other_names() -> None:
    settings, extra = Settings(redis_url=None), {"redis_ulr": "redis://here"}
    with pytest.raises(ValidationError, match="frozen"):
        settings.redis_url = "redis://here"
    with pytest.raises(ValidationError, match="redis_ulr"):
        Settings(**extra)  # type: ignore[arg-type]  # that is the point


def test_a_child_gets_this_environment_with_some_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_RESULT_EXPIRES", "5")
    monkeypatch.setenv("HEADRACE_BROKER", "auto")
    before: dict[str, Any] = dict(os.environ)
    child = child_environment(HEADRACE_BROKER="bundled", CUDA_VISIBLE_DEVICES="")
    assert child == before | {"HEADRACE_BROKER": "bundled", "CUDA_VISIBLE_DEVICES": ""}
    assert dict(os.environ) == before


def test_an_idempotency_key_never_outlives_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_RESULT_EXPIRES", "60")
    monkeypatch.setenv("HEADRACE_IDEMPOTENCY_WINDOW", "61")
    with pytest.raises(ConfigError, match="must not be longer than result_expires"):
        get_settings()
