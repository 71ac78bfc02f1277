"""benchmarks/memory.py: a short run of it holds what the long one promises."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cotenant import CoTenant, Tenancy
from benchmarks.memory import compare, complaints, report, together
from benchmarks.memory_policies import lost
from benchmarks.memory_setting import OTHERS, Setting, run
from benchmarks.oracle import fastest
from benchmarks.shared_device import Truth
from headrace.engine.outcomes import Answer
from headrace.sdk import Outcome, Prepared

SHORT = Setting(seconds=40.0)


def test_ours_is_near_the_oracle_and_before_the_others_and_nothing_is_lost(capsys) -> None:
    tallies = {name: each.tally for name, each in compare(SHORT, 1).items()}
    assert complaints(tallies) == []
    report("short", together([tallies, tallies]))
    assert "headrace" in capsys.readouterr().out


def test_a_broken_promise_is_told() -> None:
    good = run("headrace", SHORT, 2).tally
    worse = replace(good, rate=good.rate * 0.8, failed=good.batches, lost=3)
    names = dict.fromkeys(("oracle", *OTHERS), good)
    found = complaints({**names, "headrace": worse})
    assert found[:3] == [
        f"headrace lost 3 of {good.items} items",
        "0.80 of the oracle's items per second",
        "1000.00 OOMs in 1,000 batches",
    ]
    assert found[3:] == [
        f"no more {what} than {name}" if what.startswith("items") else f"more {what} than {name}"
        for name in OTHERS
        for what in ("items per second", "OOMs in 1,000 batches")
    ]


def test_the_same_seed_gives_the_same_run() -> None:
    assert run("headrace", SHORT, 3).tally == run("headrace", SHORT, 3).tally


def test_a_co_tenant_takes_and_frees_and_leaves_its_floor() -> None:
    tenancy = Tenancy()
    frees = [free for _, free in CoTenant(tenancy, 1, seconds=300.0).steps]
    assert frees == [free for _, free in CoTenant(tenancy, 1, seconds=300.0).steps]
    assert min(frees) >= tenancy.floor
    assert any(later > free for free, later in itertools.pairwise(frees))


def test_the_moment_at_which_it_leaves_too_little_is_found() -> None:
    cotenant = CoTenant(Tenancy(), 1, seconds=300.0)
    at, free = cotenant.steps[5]
    assert cotenant.falls_below(free + 1, at + 1e-6, at + 2e-6) == pytest.approx(at + 1e-6)
    assert cotenant.falls_below(free, at, at + 1e-6) is None


def test_the_oracle_s_batches_fit_and_hold_all() -> None:
    truth, sizes = Truth(), sorted(1 + (number * 37) % 512 for number in range(300))
    counts = fastest(sizes, 300 * 2**20, truth)
    assert sum(counts) == len(sizes)
    ends = [sum(counts[: each + 1]) for each in range(len(counts))]
    assert all(truth.peak(count, sizes[end - 1]) <= 300 * 2**20 for count, end in zip(counts, ends, strict=True))


def test_items_without_exactly_one_good_outcome_are_lost() -> None:
    window = [Prepared(size=1)] * 4
    good = Outcome(output=1)
    bad = Outcome(error=ValueError())
    assert lost(window, [Answer(0, good), Answer(1, good), Answer(1, good), Answer(2, bad)]) == 3


def test_a_run_is_plotted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.memory_plot import plot

    plot({name: run(name, SHORT, 1) for name in ("headrace", "additive")}, tmp_path / "new" / "memory.png")
    assert (tmp_path / "new" / "memory.png").read_bytes().startswith(b"\x89PNG")
