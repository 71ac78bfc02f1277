import pytest

pytest.importorskip("flower")

from headrace.monitoring.flower_server import is_own_request


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:5555"},
        {"Host": "localhost:5555"},
        {"Host": "[::1]:5555"},
        {"Host": "127.0.0.1:5555", "Origin": "http://127.0.0.1:5555"},
    ],
)
def test_programs_and_flowers_own_pages_are_served(headers: dict[str, str]) -> None:
    assert is_own_request(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "rebound.example:5555"},
        {"Host": "127.0.0.1:5555", "Origin": "http://evil.example"},
        {"Host": "127.0.0.1:5555", "Origin": "http://127.0.0.1:8000"},
        {"Host": "127.0.0.1:5555", "Origin": "null"},
        {"Host": "evil.example:5555", "Origin": "http://evil.example:5555"},
    ],
)
def test_pages_of_other_sites_are_not(headers: dict[str, str]) -> None:
    assert not is_own_request(headers)
