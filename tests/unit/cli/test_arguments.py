import pytest

from headrace.cli.arguments import parse_loglevel, parse_names, parse_params
from headrace.errors import ConfigError


def test_a_params_value_is_json_or_a_plain_word() -> None:
    pairs = ["top=3", "mode=fast", "flag=true", 'text="3"', "list=[1, 2]", "empty=", "url=a=b"]
    assert parse_params(pairs) == {
        "top": 3,
        "mode": "fast",
        "flag": True,
        "text": "3",
        "list": [1, 2],
        "empty": "",
        "url": "a=b",
    }


def test_no_params_are_an_empty_mapping() -> None:
    assert parse_params(None) == {}


@pytest.mark.parametrize("pair", ["top", "=3"])
def test_a_param_without_a_name_or_a_value_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_params([pair])


def test_names_are_split_at_commas() -> None:
    assert parse_names(" a, b,,c") == ["a", "b", "c"]
    assert parse_names("") == []


def test_a_log_level_is_checked() -> None:
    assert parse_loglevel("debug") == "DEBUG"
    with pytest.raises(ConfigError, match="loud"):
        parse_loglevel("loud")
