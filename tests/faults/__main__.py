"""`python -m tests.faults`: chaos for some minutes, and then the account of every job."""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from headrace.client import Client
from headrace.errors import BrokerUnavailable
from headrace.settings import Settings
from tests.faults.chaos import Chaos, settle_down
from tests.faults.ledger import Ledger
from tests.faults.world import Server, headrace_workers, plain_workers
from tests.utils.servers import connection

#: Seconds that a job takes.
_JOB_SECONDS = 0.001, 0.05
#: Seconds that the last jobs may take once everything is left alone.
_SETTLE_SECONDS = 180.0
_LEASE = 2.0
#: A run of so many seconds must have killed often enough to prove something.
_LONG_SECONDS = 120.0

Send = Callable[[dict[str, Any], str], str]


def main() -> None:
    """Run, print, and exit with 1 if a job was lost, settled twice or not answered."""
    arguments = _arguments()
    print(f"seed {arguments.seed}: {arguments.jobs} jobs, {arguments.workers} workers, {arguments.seconds:g} s")
    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        ledger = run(
            Path(folder),
            jobs=arguments.jobs,
            seconds=arguments.seconds,
            workers=arguments.workers,
            seed=arguments.seed,
            plain=arguments.plain,
            appendfsync=arguments.appendfsync,
        )
    print(json.dumps(account(ledger), indent=2))
    wrong = faults(ledger, jobs=arguments.jobs)
    if arguments.seconds >= _LONG_SECONDS:
        wrong += too_gentle(ledger)
    for each in wrong:
        print(each, file=sys.stderr)
    sys.exit(not arguments.plain and bool(wrong))


def faults(ledger: Ledger, *, jobs: int) -> list[str]:
    """What must not be."""
    found = {
        "jobs were not submitted": jobs - len(ledger.submitted),
        "jobs have no outcome": len(ledger.unanswered),
        "jobs had another outcome later": len(ledger.changed),
        "jobs were settled more than once": len(ledger.settled_twice),
        "jobs were settled by who had not claimed them any more": len(ledger.unfenced),
        "jobs, more than one in a thousand, did not succeed": max(0, round(0.999 * jobs) - ledger.succeeded),
    }
    return [f"{count} {what}" for what, count in found.items() if count]


def too_gentle(ledger: Ledger) -> list[str]:
    """What a long run must have done."""
    wanted = {
        "kills of busy workers and engines": (ledger.kills, 40),
        "zombies": (ledger.acts["worker stopped past its lease"], 1),
        "kills of the server": (ledger.acts["server killed"], 3),
    }
    return [f"only {count} {what}, not {least}" for what, (count, least) in wanted.items() if count < least]


def account(ledger: Ledger) -> dict[str, Any]:
    """What became of the jobs."""
    return {
        "submitted": len(ledger.submitted),
        "succeeded": ledger.succeeded,
        "unanswered": len(ledger.unanswered),
        "outcome changed": len(ledger.changed),
        "settled more than once": len(ledger.settled_twice),
        "settled without a claim": len(ledger.unfenced),
        "settlements": sum(ledger.settlements.values()),
        "begun more than once": ledger.repeated,
        "executions": sum(ledger.executions.values()),
        "acts": dict(ledger.acts),
    }


def run(  # noqa: PLR0913 - keyword-only
    folder: Path,
    *,
    jobs: int,
    seconds: float,
    workers: int,
    seed: int,
    plain: bool = False,
    appendfsync: str = "always",
) -> Ledger:
    """Submit jobs over some time while things die; wait for the last; return the ledger."""
    ledger, path, rng = Ledger(), folder / "executions", random.Random(seed)  # noqa: S311 - no secret
    server = Server(folder, appendfsync=appendfsync)
    fleet = plain_workers(server, folder, workers) if plain else headrace_workers(server, folder, workers, _LEASE)
    inputs = [
        {"text": f"{seed}-{each}", "do": "sleep", "seconds": rng.uniform(*_JOB_SECONDS), "path": str(path)}
        for each in range(jobs)
    ]
    send, close = _plain_sender(server.url) if plain else _sender(server.url)
    submitter = threading.Thread(target=_submit, args=(send, inputs, seconds, ledger), daemon=True)
    chaos = Chaos(server=server, workers=fleet, ledger=ledger, random=rng, lease=_LEASE)
    try:
        submitter.start()
        begin = time.monotonic()
        chaos.go_on_until(lambda: time.monotonic() - begin > seconds)
        submitter.join(_SETTLE_SECONDS)
        settle_down(server, fleet, ledger, _SETTLE_SECONDS)
        # Whoever was late would overwrite an outcome now.
        time.sleep(2 * _LEASE)
        with connection(server.url) as client:
            ledger.look(client)
        ledger.count_executions(path)
        ledger.count_settlements(folder)
    finally:
        fleet.close()
        close()
        server.close()
    return ledger


def _submit(send: Send, inputs: list[dict[str, Any]], seconds: float, ledger: Ledger) -> None:
    begin = time.monotonic()
    for number, value in enumerate(inputs):
        time.sleep(max(0.0, begin + seconds * number / len(inputs) - time.monotonic()))
        ledger.submitted.add(_until_taken(send, value))


def _until_taken(send: Send, value: dict[str, Any]) -> str:
    key = str(uuid.uuid4())
    deadline = time.monotonic() + 60
    while True:
        try:
            return send(value, key)
        except (BrokerUnavailable, OperationalError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _sender(url: str) -> tuple[Send, Callable[[], None]]:
    client = Client(url, settings=Settings(plugin_path=[Path(__file__).parents[1] / "plugins"]))
    # An answer that was lost leaves it open whether the job is queued: the key makes it one job.
    return lambda value, key: client.submit("faulty", value, idempotency_key=key).id, client.close


def _plain_sender(url: str) -> tuple[Send, Callable[[], None]]:
    app = Celery("producer", broker=url, backend=url, set_as_current=False)

    def send(value: dict[str, Any], key: str) -> str:
        app.send_task("plain.run", args=[value], task_id=key, queue="plain", retry=False)
        return key

    return send, app.close


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=130.0)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--appendfsync", choices=("always", "everysec"), default="always")
    parser.add_argument("--plain", action="store_true", help="the same done to plain Celery")
    return parser.parse_args()


if __name__ == "__main__":
    main()
