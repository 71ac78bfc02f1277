"""`headrace dead`: what was put aside is listed whole, and what cannot be done is said."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.broker.app import INFER
from headrace.broker.claims import Claims
from headrace.broker.connection import Server, connect
from headrace.broker.sender import Sender
from headrace.cli.app import app
from headrace.settings import Settings, get_settings
from tests.utils.servers import unguarded

PLUGINS = Path(__file__).parents[2] / "plugins"
WHY = "three workers died\nof it: " + "x" * 200


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with unguarded(tmp_path_factory.mktemp("dead")) as (url, _):
        yield url


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An empty server, which the commands use."""
    monkeypatch.setenv("HEADRACE_REDIS_URL", url)
    monkeypatch.setenv("HEADRACE_PLUGIN_PATH", str(PLUGINS))
    get_settings.cache_clear()
    with connect(url, Settings()) as client:
        client.flushall()
        yield client
    get_settings.cache_clear()


def dead(*arguments: str):
    return CliRunner().invoke(app, ["dead", *arguments])


def _bury(client: Server, payload: bytes | None = None, model: str = "faulty") -> str:
    """Put a message aside, by default that of a job; return the job's id."""
    claims = Claims(client, lease_seconds=60)
    claims.begin()
    if payload is not None:
        client.lpush(INFER + model, payload)
    job_id = Sender(client, "redis://h", "channel").send(model, {"text": "a"}) if payload is None else ""
    claims.bury(*claims.claim({INFER + model: 1}), model=model, why=WHY)
    return job_id


def test_a_pipe_gets_time_and_the_whole_reason_in_one_line(client: Server) -> None:
    job_id = _bury(client)
    header, row = dead("list").stdout.splitlines()
    assert header.split("\t") == ["model", "name", "since", "why"]
    model, name, since, why = row.split("\t")
    assert (model, name, why) == ("faulty", job_id, " ".join(WHY.split()))
    assert since.startswith("20")
    shown = json.loads(dead("show", job_id).stdout)
    assert (shown["reason"], shown["message"]["headers"]["id"]) == (WHY, job_id)
    assert shown["since"] > 0


def test_a_terminal_gets_the_beginning_of_the_reason(client: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.broker.dead import DeadLetter
    from headrace.cli.dead import _row

    letter = DeadLetter(model="faulty", payload=b"", job_id="a", reason=WHY)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    *_, since, why = _row(letter)
    assert (since, len(why), why[-1]) == ("-", 100, "…")


def test_what_cannot_be_sent_again_is_counted(client: Server) -> None:
    _bury(client)
    _bury(client, b"no JSON")
    _bury(client, b"[1]")
    result = dead("retry", "-m", "faulty")
    assert (result.exit_code, result.stdout) == (1, "1 queued again\n")
    assert "2 left: no job's id can be read in them" in result.stderr
    assert (client.llen("infer.faulty"), client.llen("dead.faulty")) == (1, 2)


def test_all_of_a_model_are_sent_again(client: Server) -> None:
    _bury(client)
    _bury(client)
    result = dead("retry", "-m", "faulty")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "2 queued again\n", "")


@pytest.mark.parametrize("verb", ["list", "retry", "purge"])
def test_a_model_that_nobody_knows_is_wrong_usage(client: Server, verb: str) -> None:
    result = dead(verb, "-m", "fualty")
    assert result.exit_code == 2
    assert "did you mean 'faulty'" in result.stderr


@pytest.mark.parametrize("verb", ["list", "retry", "purge"])
def test_a_model_without_any_is_told_of(client: Server, verb: str) -> None:
    result = dead(verb, "-m", "faulty")
    assert (result.exit_code, result.stderr) == (0, "headrace: faulty has no dead letters\n")


def test_a_model_that_nobody_knows_any_more_may_have_some(client: Server) -> None:
    _bury(client, model="gone")
    result = dead("purge", "-m", "gone")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "1 deleted\n", "")


@pytest.mark.parametrize("arguments", [("show", "no"), ("retry", "no")])
def test_a_name_that_is_none_is_told_of(client: Server, arguments: Any) -> None:
    result = dead(*arguments)
    assert result.exit_code == 2
    assert "there is no dead letter no" in result.stderr
