"""Each verb as far as it goes without a broker."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from typer.testing import CliRunner

import headrace
from headrace.bulk.options import RunOptions
from headrace.bulk.run import Summary
from headrace.cli.app import app
from headrace.settings import get_settings

PLUGINS = Path(__file__).parents[2] / "plugins"
NOWHERE = "redis://user:secret@127.0.0.1:1/0"
VERBS = ("run", "up", "worker", "submit", "result", "models", "flower", "doctor", "health")
#: What `headrace --help` must not import.
HEAVY = ("celery", "kombu", "redis", "pydantic", "numpy", "orjson", "rich", "tornado", "torch")


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("REDIS_URL", "HEADRACE_CONFIG", "HEADRACE_FLOWER_BASIC_AUTH", "FLOWER_BASIC_AUTH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADRACE_PLUGIN_PATH", str(PLUGINS))
    monkeypatch.setenv("HEADRACE_BROKER", "bundled")
    monkeypatch.setenv("HEADRACE_REDIS_URL", NOWHERE)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def invoke(*arguments: Any, stdin: str | None = None):
    return CliRunner().invoke(app, [str(each) for each in arguments], input=stdin)


@pytest.fixture
def bulk(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    """Stands in for the run itself: copies its input, and the last row fails."""
    seen: list[RunOptions] = []

    def run(options: RunOptions, source: BinaryIO, sink: BinaryIO, **_: Any) -> Summary:
        seen.append(options)
        lines = source.readlines()
        sink.writelines(lines)
        return Summary(items=len(lines), failures=sum(b"bad" in line for line in lines), seconds=2.0)

    monkeypatch.setattr("headrace.bulk.run.run", run)
    return seen


def test_help_lists_every_verb() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert all(f"\n  {verb} " in result.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    assert invoke(verb, "--help").exit_code == 0


def test_help_imports_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "headrace", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported.intersection(HEAVY)


def test_version() -> None:
    assert invoke("--version").stdout == f"headrace {headrace.__version__}\n"


def test_an_unknown_verb_is_wrong_usage() -> None:
    assert invoke("fly").exit_code == 2


def test_run_hands_over_its_options_and_sums_up(tmp_path: Path, bulk: list[RunOptions]) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("a\nb\n")
    arguments = ("--field", "body", "-p", "top=3", "--chunk-size", "7", "--devices", "cpu:0,cpu:1")
    result = invoke("run", "-i", source, "-o", target, "-m", "faulty", *arguments)
    assert result.exit_code == 0
    assert bulk == [RunOptions(model="faulty", field="body", params={"top": 3}, chunk_size=7, devices="cpu:0,cpu:1")]
    assert target.read_text() == "a\nb\n"
    summary = dict(line.rsplit(maxsplit=1) for line in result.stdout.splitlines())
    assert summary == {
        "items": "2",
        "failures": "0",
        "seconds": "2.0",
        "items/s": "1.0",
        "batches": "0",
        "mean batch size": "0.0",
    }


@pytest.mark.usefixtures("bulk")
def test_run_exits_1_if_items_failed(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a\nbad\n")
    assert invoke("run", "-i", tmp_path / "in", "-o", tmp_path / "out", "-m", "faulty").exit_code == 1


@pytest.mark.usefixtures("bulk")
def test_rows_on_stdout_leave_the_summary_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    result = invoke("run", "-i", "-", "-o", "-", "-m", "faulty", stdin="a\nb\n")
    assert capfd.readouterr().out == "a\nb\n"
    assert result.stderr.startswith("items ")


@pytest.mark.usefixtures("bulk")
def test_run_names_an_input_that_is_not_there(tmp_path: Path) -> None:
    result = invoke("run", "-i", tmp_path / "no.jsonl", "-o", tmp_path / "out", "-m", "faulty")
    assert result.exit_code == 2
    assert "no.jsonl: No such file" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "-i", "-", "-o", "-", "-m", "faulty", "-p", "top"), "KEY=VALUE"),
        (("run", "-i", "-", "-o", "-", "-m", "faulty", "--devices", "gpu"), "unknown device 'gpu'"),
        (("worker", "--devices", "gpu"), "unknown device 'gpu'"),
        (("worker", "--models", "fualty"), "did you mean 'faulty'"),
        (("worker", "--loglevel", "loud"), "unknown log level"),
        (("up", "--models", "fualty"), "did you mean 'faulty'"),
        (("submit", "-m", "faulty"), "--text TEXT or --input JSON"),
        (("submit", "-m", "faulty", "--text", "a", "--input", "{}"), "--text TEXT or --input JSON"),
        (("submit", "-m", "faulty", "--input", "{"), "is not JSON"),
        (("flower", "--address", "0.0.0.0"), "HEADRACE_FLOWER_BASIC_AUTH"),  # noqa: S104 - refused
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(arguments: tuple[str, ...], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "-i", "-", "-o", "-", "-m", "faulty"),
        ("worker",),
        ("up", "--no-flower"),
        ("submit", "-m", "faulty", "--text", "a"),
        ("result", "an-id"),
        ("flower", "--port", "0"),
    ],
)
def test_without_a_broker_a_verb_exits_3_and_shows_no_password(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 3
    assert "error [broker_unavailable]" in result.stderr
    assert "secret" not in result.output


@pytest.mark.parametrize("verb", [("worker",), ("up", "--no-flower")])
def test_a_variable_that_is_no_setting_is_told_of_once(verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_REDIS_ULR", "redis://here")
    told = "HEADRACE_REDIS_ULR is set, and no setting has this name: did you mean HEADRACE_REDIS_URL?"
    assert invoke(*verb).stderr.count(told) == 1


def test_a_url_that_is_none_of_redis_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_REDIS_URL", "me:secret@localhost:6379")
    result = invoke("result", "an-id")
    assert result.exit_code == 2
    assert "'***@localhost:6379' is no Redis URL" in result.stderr


def test_models_are_listed_without_a_broker() -> None:
    result = invoke("models")
    assert result.exit_code == 0
    assert "\nfaulty\techo\t" in result.stdout
    assert "no broker" in result.stderr


def test_models_names_a_broken_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tmp_path / "odd" / "plugin_manifest.json"
    manifest.parent.mkdir()
    manifest.write_text("{")
    monkeypatch.setenv("HEADRACE_PLUGIN_PATH", f"{PLUGINS}:{tmp_path}")
    result = invoke("models")
    assert "\nfaulty\t" in result.stdout
    assert f"problem [invalid_manifest]: {manifest}" in result.stderr


def test_health_knows_no_exit_code_but_0_and_1() -> None:
    result = invoke("health")
    assert (result.exit_code, result.stderr.partition(":")[0]) == (1, "unhealthy")


def test_doctor_exits_1_if_the_broker_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.monitoring.doctor._torch", lambda: iter(()))
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "broken: broker: Redis at redis://***@127.0.0.1:1/0 does not answer" in result.stdout
    assert "secret" not in result.output


def test_doctor_tells_of_settings_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_RESULT_EXPIRES", "soon")
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "broken: settings: setting result_expires" in result.stdout
