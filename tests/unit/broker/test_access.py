"""Which broker a command works with: the given one, or one that comes along."""

from pathlib import Path

import pytest
import redis

from headrace.broker.access import joined_broker, open_broker, running_broker
from headrace.errors import BrokerUnavailable
from headrace.settings import Settings
from tests.utils.servers import answers


def _settings(folder: Path, url: str | None = None) -> Settings:
    return Settings(state_dir=folder, broker="bundled", redis_url=url, connect_timeout=0.2)


def test_a_given_broker_is_used_and_left_running(url: str, tmp_path: Path) -> None:
    with open_broker(_settings(tmp_path, url)) as given:
        assert given == url
    assert answers(url)
    assert running_broker(_settings(tmp_path, url)) == url
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_takes_nothing_is_told_of_at_once(url: str, client: redis.Redis, tmp_path: Path) -> None:
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerUnavailable, match="maxmemory"), open_broker(_settings(tmp_path, url)):
            pass
    finally:
        client.config_set("maxmemory", "0")


@pytest.mark.parametrize("open_it", [lambda settings: open_broker(settings).__enter__(), running_broker])
def test_a_given_broker_that_is_away_is_no_reason_to_start_one(tmp_path: Path, open_it: object) -> None:
    assert callable(open_it)
    with pytest.raises(BrokerUnavailable):
        open_it(_settings(tmp_path, "redis://127.0.0.1:1/0"))
    assert list(tmp_path.iterdir()) == []


def test_a_client_joins_the_broker_that_runs_and_starts_none(url: str, tmp_path: Path) -> None:
    with joined_broker(_settings(tmp_path, url)) as given:
        assert given == url
    with pytest.raises(BrokerUnavailable, match="headrace up"), joined_broker(_settings(tmp_path)):
        pass
    with open_broker(_settings(tmp_path)) as ours, joined_broker(_settings(tmp_path)) as joined:
        assert joined == ours


def test_without_one_a_server_comes_along_and_goes_with_its_last_user(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="headrace up"):
        running_broker(_settings(tmp_path))
    with open_broker(_settings(tmp_path)) as ours:
        assert running_broker(_settings(tmp_path)) == ours
    assert not answers(ours)
