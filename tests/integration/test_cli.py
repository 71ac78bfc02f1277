"""The command line as a user has it: real processes, a real broker, real signals."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import redis

from headrace.broker.connection import connect
from headrace.broker.embedded import EmbeddedBroker, running_url
from headrace.broker.registry import Registry
from headrace.settings import Settings
from tests.integration.commands import headrace, processes_of, started
from tests.utils.waiting import wait_until

pytestmark = pytest.mark.usefixtures("settings")

MODEL = ("-m", "faulty")
#: More than any test waits for.
MANY = 500_000


def lines_until(process: subprocess.Popen[str], *beginnings: str) -> dict[str, str]:
    """Read stdout until a line with each of the beginnings was there; return their rests."""
    found: dict[str, str] = {}
    assert process.stdout is not None
    while missing := set(beginnings) - found.keys():
        line = process.stdout.readline()
        assert line, f"ended without {missing}"
        name, _, rest = line.strip().partition(" ")
        found[name] = rest.strip()
    return found


def write_texts(path: Path, count: int) -> Path:
    with path.open("w") as stream:
        stream.writelines(f'{{"custom_id": {number}, "text": "text {number}"}}\n' for number in range(count))
    return path


def status_of(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:  # noqa: S310 - our own URL
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


class TestRun:
    def test_every_line_has_its_row_in_order_and_nothing_stays_behind(self, tmp_path: Path, settings: Settings) -> None:
        source, target = write_texts(tmp_path / "in.jsonl", 300), tmp_path / "out.jsonl"
        with source.open("a") as stream:
            stream.write('not JSON\n{"text": 5}\n')
        done = headrace("run", "-i", source, "-o", target, *MODEL)
        assert done.returncode == 1
        assert "1 x invalid_line, first: line " in done.stderr
        rows = [json.loads(line) for line in target.read_text().splitlines()]
        assert [row["custom_id"] for row in rows] == [*range(300), "line-301", "line-302"]
        assert [row["output"]["text"] for row in rows[:300]] == [f"text {number}" for number in range(300)]
        assert [row["error"]["code"] for row in rows[300:]] == ["invalid_line", "invalid_input"]
        assert "items                   302\nfailures                  2\n" in done.stdout
        assert processes_of(settings) == []

    def test_a_pipe_in_and_a_pipe_out(self) -> None:
        done = headrace("run", "-i", "-", "-o", "-", "--field", "body", *MODEL, stdin='{"body": "a"}\n')
        assert done.returncode == 0
        assert json.loads(done.stdout)["output"]["text"] == "a"
        assert done.stderr.startswith("items ")

    def test_a_full_disk_behind_stdout_exits_2_and_says_so(self) -> None:
        with Path("/dev/full").open("wb") as full:
            done = headrace("run", "-i", "-", "-o", "-", *MODEL, stdin='{"text": "a"}\n', stdout=full)
        assert done.returncode == 2
        assert "cannot write the output (No space left on device)" in done.stderr

    def test_an_unknown_model_exits_2_names_the_models_and_leaves_no_file(self, tmp_path: Path) -> None:
        source = write_texts(tmp_path / "in.jsonl", 1)
        done = headrace("run", "-i", source, "-o", tmp_path / "out.jsonl", "-m", "fualty")
        assert done.returncode == 2
        assert "did you mean 'faulty'" in done.stderr
        assert not list(tmp_path.glob("out*"))

    def test_an_unreachable_redis_exits_3_within_10_seconds(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HEADRACE_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
        source, begin = write_texts(tmp_path / "in.jsonl", 1), time.monotonic()
        done = headrace("run", "-i", source, "-o", tmp_path / "out.jsonl", *MODEL)
        assert done.returncode == 3
        assert time.monotonic() - begin < 10
        assert done.stderr.count("\n") == 1
        assert "secret" not in done.stderr

    def test_a_redis_that_hangs_exits_3_within_10_seconds(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("HEADRACE_REDIS_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
            source, begin = write_texts(tmp_path / "in.jsonl", 1), time.monotonic()
            done = headrace("run", "-i", source, "-o", tmp_path / "out.jsonl", *MODEL)
        assert done.returncode == 3
        assert time.monotonic() - begin < 10

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_an_interrupted_run_cancels_what_it_queued_and_leaves_no_process(
        self, tmp_path: Path, settings: Settings, number: signal.Signals
    ) -> None:
        source, target = write_texts(tmp_path / "in.jsonl", MANY), tmp_path / "out.jsonl"
        part = tmp_path / "out.jsonl.part"
        with started("run", "-i", source, "-o", target, *MODEL) as process:
            wait_until(lambda: part.exists() and part.stat().st_size, 30)
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (130, "")
        assert "Traceback" not in err
        assert "ending what this run has started" in err
        assert f"the rows so far are in {part}" in err
        assert not target.exists()
        assert processes_of(settings) == []
        with EmbeddedBroker(settings.state_dir, bundled=True) as url:
            assert connect(url, settings).llen("infer.faulty") == 0

    def test_a_run_that_waits_for_its_input_can_be_interrupted(self, settings: Settings) -> None:
        with started("run", "-i", "-", "-o", "-", *MODEL) as process:
            log = settings.state_dir / "logs" / f"run-{process.pid}.log"
            wait_until(lambda: log.exists() and " ready." in log.read_text(), 30)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        assert processes_of(settings) == []


class TestUp:
    def test_a_job_from_the_shell_to_its_result_and_all_is_gone_after_ctrl_c(self, settings: Settings) -> None:
        with started("up", "--models", "faulty", "--port", 0) as up:
            told = lines_until(up, "broker", "log", "worker", "flower")
            done = headrace("submit", *MODEL, "--text", "a", "--wait", 30)
            assert json.loads(done.stdout)["text"] == "a"
            job_id = headrace("submit", *MODEL, "--input", '{"text": "b", "do": "raise"}').stdout.strip()
            failed = headrace("result", job_id, "--timeout", 30)
            assert failed.returncode == 1
            assert "error [inference_failed]: ValueError: told to raise on 'b'" in failed.stderr
            assert headrace("submit", *MODEL, "--input", '{"text": 3}').returncode == 2
            row = next(line for line in headrace("models").stdout.splitlines() if line.startswith("faulty\t")).split(
                "\t"
            )
            worker = told["worker"].split()[0]
            assert row[4] == worker
            assert row[5].startswith(f"{worker} ")
            assert headrace("health").returncode == 0
            assert headrace("health", "--worker", "cpu9").returncode == 1
            assert "answers (valkey" in headrace("doctor").stdout
            self.look_at_flower(told["flower"], worker=row[4])
            up.send_signal(signal.SIGINT)
            assert up.wait(30) == 0
        assert processes_of(settings) == []

    def look_at_flower(self, url: str, *, worker: str) -> None:
        with urllib.request.urlopen(f"{url}/api/workers?refresh=1", timeout=10) as response:  # noqa: S310 - our own URL
            stats = json.load(response)[worker]["stats"]
        assert stats["headrace_device"] == "cpu:0"
        assert stats["headrace_free_bytes"] > 0
        assert stats["headrace_resident_models"] == "faulty"
        assert "faulty: auto items" in stats["headrace_batch_limit"]
        with urllib.request.urlopen(f"{url}/broker", timeout=10) as response:  # noqa: S310 - our own URL
            page = response.read()
        assert all(queue in page for queue in (b"infer.faulty.high", b"infer.faulty<", b"infer.faulty.low"))
        assert status_of(f"{url}/api/tasks", Origin=url) == 200
        assert status_of(f"{url}/api/tasks", Origin="http://evil.example") == 403
        assert status_of(f"{url}/api/tasks", Host="evil.example") == 403

    def test_a_second_ctrl_c_does_not_wait_for_a_long_batch(self, settings: Settings) -> None:
        with started("up", "--models", "faulty", "--no-flower") as up:
            queue = connect(lines_until(up, "broker", "worker")["broker"], settings)
            job = '{"text": "a", "do": "sleep", "seconds": 300}'
            assert headrace("submit", *MODEL, "--input", job).returncode == 0
            wait_until(lambda: not queue.llen("infer.faulty"), 10)
            queue.close()
            up.send_signal(signal.SIGINT)
            lines_until(up, "ending")
            up.send_signal(signal.SIGINT)
            assert up.wait(30) == 0
        assert processes_of(settings) == []

    def test_nothing_outlives_a_killed_launcher(self, settings: Settings) -> None:
        with started("up", "--models", "faulty", "--port", 0) as up:
            lines_until(up, "worker", "flower")
            up.kill()
            up.wait()
        wait_until(lambda: not processes_of(settings), 20)

    def test_flower_asks_for_the_password_that_it_was_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADRACE_FLOWER_BASIC_AUTH", "me:secret")
        # As Kubernetes sets it for a service of that name.
        monkeypatch.setenv("FLOWER_PORT", "tcp://10.0.0.1:5555")
        with started("up", "--models", "faulty", "--port", 0) as up:
            url = lines_until(up, "flower")["flower"]
            assert status_of(f"{url}/api/workers") == 401
            assert status_of(f"{url}/api/workers", Authorization="Basic bWU6c2VjcmV0") == 200
            up.send_signal(signal.SIGINT)
            up.wait(30)


def test_a_worker_per_device_ends_in_order_on_sigterm(settings: Settings) -> None:
    with started("worker", "--models", "faulty", "--devices", "cpu:0,cpu:1") as worker:
        for name in ("cpu0", "cpu1"):
            wait_until(lambda name=name: headrace("health", "--worker", name).returncode == 0, 30)
        os.kill(worker.pid, signal.SIGTERM)
        _, err = worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert err.count("Warm shutdown") == 2
    assert processes_of(settings) == []


def test_doctor_starts_nothing(settings: Settings) -> None:
    done = headrace("doctor")
    assert done.returncode == 0, done.stdout
    assert "none runs; valkey" in done.stdout
    assert not (settings.state_dir / "broker").exists()


def test_two_runs_share_a_broker_and_each_ends_well(tmp_path: Path, settings: Settings) -> None:
    short, long = write_texts(tmp_path / "short.jsonl", 200), write_texts(tmp_path / "long.jsonl", 40_000)
    first = ("run", "-i", short, "-o", tmp_path / "short.out", *MODEL)
    second = ("run", "-i", long, "-o", tmp_path / "long.out", *MODEL)
    # The worker that serves both belongs to the run that ends first.
    with started(*map(str, first)) as one:
        wait_until(lambda: serving(settings), timeout=30)
        with started(*map(str, second)) as two:
            assert one.wait(timeout=60) == 0
            assert two.wait(timeout=120) == 0
    assert len((tmp_path / "short.out").read_text().splitlines()) == 200
    assert len((tmp_path / "long.out").read_text().splitlines()) == 40_000
    wait_until(lambda: not processes_of(settings), timeout=10)


def test_a_run_whose_worker_is_killed_gets_every_row(tmp_path: Path, settings: Settings) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(f'{{"text": "{each}"}}' for each in range(20_000)))
    with started("run", "-i", str(source), "-o", str(target), *MODEL) as process:
        wait_until(lambda: worker_pids(settings) and (tmp_path / "out.jsonl.part").stat().st_size, timeout=30)
        os.kill(worker_pids(settings)[0], signal.SIGKILL)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    assert len(target.read_text().splitlines()) == 20_000


def worker_pids(settings: Settings) -> list[int]:
    """The Celery workers that were started with the test's state folder."""
    return [pid for pid in processes_of(settings) if b"headrace.consumer" in command_of(pid)]


def command_of(pid: int) -> bytes:
    """A process's command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_input_and_output_may_not_be_one_file(tmp_path: Path) -> None:
    source = write_texts(tmp_path / "in.jsonl", 2)
    done = headrace("run", "-i", source, "-o", source, *MODEL)
    assert done.returncode == 2
    assert "the same file" in done.stderr
    assert '"text 1"' in source.read_text()


def serving(settings: Settings) -> bool:
    """Whether a worker has given a sign of life on the embedded broker."""
    url = running_url(settings.state_dir, bundled=True)
    if url is None:
        return False
    client = connect(url, settings)
    try:
        return bool(Registry(client).workers())
    except redis.RedisError:
        return False
    finally:
        client.close()
