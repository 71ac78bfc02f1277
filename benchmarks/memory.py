"""How large the next batch is to be, on a device that a co-tenant uses too: headrace beside other ways.

    python -m benchmarks.memory [--seeds 5] [--load 1] [--quadratic 48] [--plot build/memory.png] [--json FILE]

**On a virtual clock.** A plugin pads its batches and needs memory that grows with the square of the longest item;
no policy is told so (`benchmarks/shared_device.py` has the constants and where they come from). A co-tenant takes
and frees memory as its seed has it (`benchmarks/cotenant.py`): the device is nearly full most of the time. Every
policy gets the same windows of 1,024 items, sorted by size. Fixed sizes, in items or padded tokens, halve a batch
for which memory ended and keep their size; `halving` begins with 1,024 items and halves for good; `additive` takes
8 more after each batch and half as many after an OOM; `additive tokens` does so by 1,024. `headrace` is the
engine's executor, guard and cost model, with its rehearsal. The oracle knows bytes and seconds of each batch and
what is free now, and runs the fastest batches that fit. Warm-up, not counted: the first 20 seconds. All may use the
whole device; `--utilization 0.9` shows what headrace's default costs where it is nearly full.

An OOM costs the time until the allocation fails and 50 ms. One is "by a step" if the batch would have fitted when
it began and the co-tenant took memory while it ran: nobody can foresee it, and longer batches meet more of them,
so it is counted apart.

**MiniLM**, on a virtual device whose budget another process changes (`benchmarks/memory_minilm.py`), by the real
clock. On a CPU the size of a batch hardly changes its speed from 8 items on, so items per second are
shown and not judged. The first fifth of each run is warm-up.

Exits with 1 unless headrace has 0.90 of the oracle's items per second or more, at most one OOM in 1,000 batches,
more items per second than every other at no more OOMs in 1,000 batches, on every seed; and unless no policy lost
an item.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import memory_minilm
from benchmarks.attempts import Tally
from benchmarks.cotenant import Tenancy
from benchmarks.memory_plot import plot
from benchmarks.memory_setting import OTHERS, Run, Setting, run
from benchmarks.shared_device import Truth

LEAST_SHARE, MOST_FAILED = 0.90, 1.0
#: Shown in the plot, on the first seed.
PLOTTED = ("headrace", "32 items", "additive")


def compare(setting: Setting, seed: int) -> dict[str, Run]:
    """Run every policy on one seed."""
    return {name: run(name, setting, seed) for name in ("oracle", "headrace", *OTHERS)}


def complaints(tallies: dict[str, Tally]) -> list[str]:
    """What was promised and does not hold on a seed."""
    ours, oracle = tallies["headrace"], tallies["oracle"]
    found = [f"{name} lost {each.lost} of {each.items} items" for name, each in tallies.items() if each.lost]
    if ours.rate < LEAST_SHARE * oracle.rate:
        found.append(f"{ours.rate / oracle.rate:.2f} of the oracle's items per second")
    if ours.failed_per_1000 > MOST_FAILED:
        found.append(f"{ours.failed_per_1000:.2f} OOMs in 1,000 batches")
    for name in OTHERS:
        if ours.rate <= tallies[name].rate:
            found.append(f"no more items per second than {name}")
        if ours.failed_per_1000 > tallies[name].failed_per_1000:
            found.append(f"more OOMs in 1,000 batches than {name}")
    return found


def report(title: str, tallies: dict[str, Tally]) -> None:
    best = tallies["oracle"].rate if "oracle" in tallies else None
    print(f"\n{title}")
    print(f"{'':16}{'items/s':>9}{'of oracle':>11}{'batches':>9}{'OOM/1,000':>11}{'by steps':>10}{'lost':>6}")
    for name, each in tallies.items():
        share = f"{each.rate / best:.2f}" if best else "-"
        counts = f"{each.batches:9}{each.failed_per_1000:11.2f}{each.stepped_per_1000:10.2f}{each.lost:6}"
        print(f"{name:16}{each.rate:9.0f}{share:>11}{counts}")


def together(seeds: Sequence[dict[str, Tally]]) -> dict[str, Tally]:
    """The tallies of all seeds in one: the mean rate, and sums."""
    return {name: _sum([tallies[name] for tallies in seeds]) for name in seeds[0]}


def _sum(tallies: Sequence[Tally]) -> Tally:
    sums = {
        name: sum(getattr(each, name) for each in tallies) for name in ("batches", "failed", "stepped", "items", "lost")
    }
    return Tally(rate=sum(each.rate for each in tallies) / len(tallies), **sums)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 1 on")
    parser.add_argument("--seconds", type=float, default=Setting().seconds, help="of the virtual clock, for each run")
    parser.add_argument("--load", type=float, default=1.0, help="the co-tenant's jobs per second")
    parser.add_argument("--quadratic", type=int, default=Truth().quadratic, help="bytes for a pair of tokens")
    parser.add_argument("--utilization", type=float, default=1.0, help="share of the device that headrace may use")
    parser.add_argument("--minilm-seeds", type=int, default=2, help="0 for none")
    parser.add_argument("--minilm-seconds", type=float, default=10.0, help="of the real clock, for each run")
    parser.add_argument("--quick", action="store_true", help="one seed of each and shorter runs, in some 25 seconds")
    parser.add_argument("--plot", type=Path, default=Path("build/memory.png"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.seconds, options.minilm_seeds, options.minilm_seconds = 1, 40.0, 1, 0.5
    return options


def _setting(options: argparse.Namespace) -> Setting:
    return Setting(
        truth=Truth(quadratic=options.quadratic),
        tenancy=replace(Tenancy(), every=1 / options.load),
        seconds=options.seconds,
        utilization=options.utilization,
    )


def _synthetic(options: argparse.Namespace) -> tuple[list[dict[str, Tally]], list[str]]:
    setting, found, seeds = _setting(options), list[str](), list[dict[str, Tally]]()
    for seed in range(1, options.seeds + 1):
        runs = compare(setting, seed)
        if seed == 1:
            plot({name: runs[name] for name in PLOTTED}, options.plot)
        seeds.append({name: each.tally for name, each in runs.items()})
        report(f"seed {seed}", seeds[-1])
        found += [f"seed {seed}: {complaint}" for complaint in complaints(seeds[-1])]
    report(f"all {len(seeds)} seeds", together(seeds))
    return seeds, found


def _minilm(options: argparse.Namespace) -> tuple[list[dict[str, Tally]], list[str]]:
    found, seeds = list[str](), list[dict[str, Tally]]()
    for seed in range(1, options.minilm_seeds + 1):
        seeds.append(memory_minilm.compare(seed, seconds=options.minilm_seconds))
        report(f"MiniLM, seed {seed}", seeds[-1])
        found += [f"MiniLM, seed {seed}: {complaint}" for complaint in memory_minilm.complaints(seeds[-1])]
    return seeds, found


def main() -> int:
    # The guard warns of each OOM; here they are counted.
    logging.disable(logging.WARNING)
    options = _options()
    synthetic, found = _synthetic(options)
    minilm, more = _minilm(options)
    found += more
    print(f"\nplot: {options.plot}")
    if options.json:
        rows = {"synthetic": synthetic, "minilm": minilm}
        told = {part: [{name: asdict(each) for name, each in row.items()} for row in rows[part]] for part in rows}
        options.json.write_text(json.dumps({**told, "complaints": found}, indent=2) + "\n")
    print("\n".join(found) or "holds: all that is promised, on every seed")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
