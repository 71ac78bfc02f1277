"""What the queue costs: a model that does nothing, through headrace and through plain Celery.

    python -m benchmarks.queue [--jobs 2000] [--rounds 3] [--json FILE]

One server, one worker of each kind at a time, events on, results stored. Every round runs each
contender once end to end: it enqueues all jobs, waits, and fetches every result; and once more to
see how fast the worker alone drains a queue that was filled while it was not consuming. The table
shows medians over the rounds, their spread, and the microseconds of CPU per item that client and
worker took.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.plain_celery import echo
from headrace.broker.embedded import EmbeddedBroker
from headrace.broker.options import SendOptions
from headrace.broker.results import result_key
from headrace.broker.sender import Sender
from headrace.client import Client
from headrace.launcher import Launcher, parse_devices
from headrace.settings import get_settings

#: Jobs that load the model and warm caches before anything is timed.
_WARM_UP = 200
#: The application's input: about a hundred bytes.
_VALUE = {"text": "a job of about a hundred bytes, which is what a short sentence comes to in JSON"}
#: Jobs of which the latency is taken, one after the other.
_SINGLE_JOBS = 300
_LIMIT_SECONDS = 120.0
#: Seconds between two looks whether a queue is drained, and how many of the last jobs each looks at:
#: pools with several threads or processes end them out of order.
_LOOK_SECONDS = 0.01
_LAST = 20
#: The worker of ours waits for four queues; one of them is used.
_MODELS = ["noop", "noop_b", "noop_c", "noop_d"]


@dataclass(kw_only=True, slots=True)
class Timing:
    """Rounds of one contender."""

    #: Items per second, end to end.
    rates: list[float] = field(default_factory=list)
    #: Items per second of a worker that finds its queue full.
    drained: list[float] = field(default_factory=list)
    #: Microseconds of CPU per item: to enqueue, and in all of client and worker.
    enqueue: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A way to run jobs: enqueues so many and returns what fetches them."""

    name: str
    queue: str
    enqueue: Callable[[int], Callable[[], int]]
    #: Queues so many items and returns the ids of the jobs, for a drain; None to take none.
    fill: Callable[[int], list[str]] | None = None
    #: Items for each job that is asked for.
    factor: int = 1


def headrace_contenders(client: Client) -> list[Contender]:
    """Ours: single jobs, and chunks."""
    sender = Sender(client.redis, client.url, "")

    def singles(count: int) -> Callable[[], int]:
        pending = client.submit_many("noop", [_VALUE] * count)
        return lambda: len([job.result(_LIMIT_SECONDS) for job in pending])

    def chunks(size: int | None) -> Callable[[int], Callable[[], int]]:
        return lambda count: lambda: sum(1 for _ in client.map("noop", [_VALUE] * count, chunk_size=size))

    def fill(count: int, size: int = 0) -> list[str]:
        inputs: list[Any] = [[_VALUE] * size] * (count // size) if size else [_VALUE] * count
        return sender.send_many("noop", inputs, SendOptions())

    return [
        Contender(name="headrace, single jobs", queue="infer.noop", enqueue=singles, fill=fill),
        *(
            Contender(
                name=f"headrace, chunks of {size}",
                queue="infer.noop",
                enqueue=chunks(size),
                fill=partial(fill, size=size),
                factor=factor,
            )
            for size, factor in ((8, 5), (64, 20), (512, 20))
        ),
        Contender(name="headrace, chunks as it likes", queue="infer.noop", enqueue=chunks(None), factor=20),
    ]


def plain_contenders(pool: str) -> list[Contender]:
    """Plain Celery's, fetched in both of its ways."""

    def by_get(count: int) -> Callable[[], int]:
        sent = [echo.apply_async([_VALUE]) for _ in range(count)]
        return lambda: len([each.get(timeout=_LIMIT_SECONDS) for each in sent])

    def by_get_many(count: int) -> Callable[[], int]:
        ids = fill(count)
        return lambda: len(list(echo.app.backend.get_many(ids, timeout=_LIMIT_SECONDS)))

    def fill(count: int) -> list[str]:
        return [echo.apply_async([_VALUE]).id for _ in range(count)]

    return [
        Contender(name=f"Celery {pool}, get", queue="plain", enqueue=by_get),
        Contender(name=f"Celery {pool}, get_many", queue="plain", enqueue=by_get_many, fill=fill),
    ]


@contextmanager
def plain_worker(url: str, pool: str, log: Path) -> Iterator[int]:
    """A worker of plain Celery; gives its pid."""
    command = [
        sys.executable, "-m", "celery", "-A", "benchmarks.plain_celery", "worker", "-P", pool, "-c", "2",
        "-E", "-l", "WARNING", "--without-mingle", "--without-gossip",
    ]  # fmt: skip
    with log.open("ab") as sink:
        process = subprocess.Popen(command, env={**os.environ, "BENCH_URL": url}, stdout=sink, stderr=sink)
    try:
        echo.apply_async([_VALUE]).get(timeout=60)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a process and of all below it, those that ended included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(int(each) for each in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return own + sum(map(cpu_of, children))


def time_one(contender: Contender, timing: Timing, jobs: int, worker: int) -> None:
    """One round of one contender."""
    count = jobs * contender.factor
    begin, client, remote = time.perf_counter(), time.process_time(), cpu_of(worker)
    fetch = contender.enqueue(count)
    timing.enqueue.append((time.process_time() - client) / count * 1e6)
    done = fetch()
    timing.rates.append(done / (time.perf_counter() - begin))
    timing.cpu.append((time.process_time() - client + cpu_of(worker) - remote) / count * 1e6)
    if done != count:
        raise SystemExit(f"{contender.name}: {done} of {count} came back")
    print(f"{contender.name}: {timing.rates[-1]:.0f} items/s", file=sys.stderr)


def time_drain(contender: Contender, timing: Timing, jobs: int, client: Client) -> None:
    """Fill the queue while nobody consumes it, and time the worker until the last result is stored."""
    if contender.fill is None:
        return
    count = jobs * contender.factor
    client.app.control.cancel_consumer(contender.queue, reply=True)
    keys = [result_key(job_id) for job_id in contender.fill(count)]
    begin = time.perf_counter()
    client.app.control.add_consumer(contender.queue)
    while int(client.redis.exists(*keys[-_LAST:])) < len(keys[-_LAST:]):
        if time.perf_counter() - begin > _LIMIT_SECONDS:
            raise SystemExit(f"{contender.name}: not drained in {_LIMIT_SECONDS:g} s")
        time.sleep(_LOOK_SECONDS)
    timing.drained.append(count / (time.perf_counter() - begin))
    if int(client.redis.exists(*keys)) < len(keys):
        raise SystemExit(f"{contender.name}: drained, but results are missing")
    print(f"{contender.name}: {timing.drained[-1]:.0f} items/s drained", file=sys.stderr)


def latencies(client: Client) -> list[float]:
    """Milliseconds from submit to result of single jobs on an idle worker."""
    taken = []
    for _ in range(_SINGLE_JOBS):
        begin = time.perf_counter()
        client.submit("noop", _VALUE).result(_LIMIT_SECONDS)
        taken.append((time.perf_counter() - begin) * 1e3)
    return sorted(taken)


def report(timings: dict[str, Timing], milliseconds: list[float]) -> dict[str, Any]:
    """Print the table and what is claimed of it; return both for the JSON file."""
    rates = f"{'items/s':>9}{'spread':>16}{'drained':>9}{'spread':>16}"
    print(f"{'contender':<30}{rates}{'enqueue us':>12}{'CPU us/item':>13}")
    for name, timing in timings.items():
        enqueue, cpu = statistics.median(timing.enqueue), statistics.median(timing.cpu)
        print(f"{name:<30}{_shown(timing.rates)}{_shown(timing.drained)}{enqueue:>12.0f}{cpu:>13.0f}")
    median = {name: statistics.median(timing.rates) for name, timing in timings.items()}
    drained = {name: statistics.median(timing.drained) for name, timing in timings.items() if timing.drained}
    plain = [name for name in timings if name.startswith("Celery")]
    single = median["headrace, single jobs"]
    apply_async = min(statistics.median(timings[name].enqueue) for name in plain)
    ratios = {
        "single jobs to the best pool with get_many": single / max(median[name] for name in plain if "many" in name),
        "single jobs to the best pool with get": single / max(median[name] for name in plain if "many" not in name),
        "chunks of 64 to the best pool's single jobs": median["headrace, chunks of 64"]
        / max(median[name] for name in plain),
        "the same, drained": drained["headrace, chunks of 64"] / max(drained.get(name, 0) for name in plain),
        "apply_async to our enqueue": apply_async / statistics.median(timings["headrace, single jobs"].enqueue),
        "latency p50, ms": milliseconds[len(milliseconds) // 2],
        "latency p99, ms": milliseconds[len(milliseconds) * 99 // 100],
    }
    for name, value in ratios.items():
        print(f"{name:<50}{value:>8.1f}")
    return {"median items/s": median, "drained items/s": drained, "ratios": ratios}


def _shown(rates: list[float]) -> str:
    if not rates:
        return f"{'-':>9}{'':>16}"
    return f"{statistics.median(rates):>9.0f}{f'{min(rates):.0f}-{max(rates):.0f}':>16}"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pools", default="solo,threads,prefork")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f}; {len(os.sched_getaffinity(0))} cores; {arguments.jobs} jobs")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        plugins = copies_of_noop(folder / "plugins")
        os.environ.update(HEADRACE_STATE_DIR=str(folder / "state"), HEADRACE_PLUGIN_PATH=str(plugins))
        settings = get_settings()
        url = stack.enter_context(EmbeddedBroker(settings.state_dir, bundled=True))
        echo.app.conf.update(broker_url=url, result_backend=url)
        client = stack.enter_context(Client(url, settings=settings))
        timings: dict[str, Timing] = {}
        milliseconds: list[float] = []
        for _ in range(arguments.rounds):
            milliseconds += run_headrace(client, url, folder, timings, arguments.jobs)
            for pool in arguments.pools.split(","):
                with plain_worker(url, pool, folder / "celery.log") as pid:
                    run_all(plain_contenders(pool), timings, arguments.jobs, pid, client)
        measured = report(timings, sorted(milliseconds))
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=2))


def copies_of_noop(folder: Path) -> Path:
    """The model under all its names, so that the worker waits for several queues."""
    for name in _MODELS:
        shutil.copytree(Path(__file__).parent / "plugins" / "noop", folder / name)
        manifest = folder / name / "plugin_manifest.json"
        manifest.write_text(manifest.read_text().replace('"noop', f'"{name}'))
    return folder


def run_headrace(client: Client, url: str, folder: Path, timings: dict[str, Timing], jobs: int) -> list[float]:
    """One round of ours; returns the latencies."""
    with Launcher(url, parse_devices("cpu"), models=_MODELS, log_file=folder / "headrace.log") as launcher:
        launcher.wait_ready(client.registry)
        worker = launcher.workers[0].pid or 0
        run_all(headrace_contenders(client), timings, jobs, worker, client)
        return latencies(client)


def run_all(contenders: list[Contender], timings: dict[str, Timing], jobs: int, worker: int, client: Client) -> None:
    """Warm up and time each."""
    for contender in contenders:
        contender.enqueue(_WARM_UP)()
        timing = timings.setdefault(contender.name, Timing())
        time_one(contender, timing, jobs, worker)
        time_drain(contender, timing, jobs, client)


if __name__ == "__main__":
    main()
