"""A plot of what policies did with the memory that there was."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.attempts import Attempt
from benchmarks.cotenant import GIB
from benchmarks.memory_setting import Run

#: Seconds of the run that are shown.
SHOWN = (30.0, 60.0)


def plot(runs: Mapping[str, Run], path: Path) -> None:
    """Draw free memory, what each batch needed, its items and its OOMs over time, for each policy."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2 * len(runs), 1, figsize=(13, 4.2 * len(runs)), sharex=True, height_ratios=[2, 1] * len(runs)
    )
    for number, (name, run) in enumerate(runs.items()):
        shown = [each for each in run.device.attempts if each.begin <= SHOWN[1]]
        _draw_memory(axes[2 * number], name, run, shown)
        _draw_items(axes[2 * number + 1], shown)
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.12), ncols=4, frameon=False)
    axes[-1].set_xlabel("virtual seconds")
    last = max(run.device.attempts[-1].end for run in runs.values())
    axes[-1].set_xlim(min(SHOWN[0], last / 2), min(SHOWN[1], last))
    figure.align_ylabels()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_memory(axis: Any, name: str, run: Run, shown: Sequence[Attempt]) -> None:
    steps = [(at, free) for at, free in run.device.cotenant.steps if at < SHOWN[1]]
    times, frees = zip(*steps, (SHOWN[1], steps[-1][1]), strict=True)
    free = [each / GIB for each in frees]
    axis.fill_between(times, free, 0.01, step="post", color="#dce9f5", linewidth=0)
    axis.step(times, free, where="post", color="#3b78b5", linewidth=1.2, label="free memory")
    _scatter(axis, shown, lambda each: each.need / GIB)
    tally = run.tally
    axis.set_title(
        f"{name}: {tally.rate:,.0f} items/s, {tally.failed_per_1000:.1f} OOMs in 1,000 batches, "
        f"{tally.stepped_per_1000:.1f} by steps (whole run)",
        loc="left",
        fontsize=10,
    )
    axis.set_yscale("log")
    axis.set_ylim(0.06, 9)
    axis.set_yticks([0.1, 0.25, 0.5, 1, 2, 4, 8], ["0.1", "0.25", "0.5", "1", "2", "4", "8"])
    axis.minorticks_off()
    axis.set_ylabel("memory, GiB")
    axis.grid(visible=True, axis="y", alpha=0.25)


def _draw_items(axis: Any, shown: Sequence[Attempt]) -> None:
    _scatter(axis, shown, lambda each: each.shape.items)
    axis.set_yscale("log", base=2)
    axis.set_ylim(0.7, 1500)
    axis.set_yticks([1, 8, 64, 512], ["1", "8", "64", "512"])
    axis.set_ylabel("items in\na batch")
    axis.grid(visible=True, axis="y", alpha=0.25)


def _scatter(axis: Any, shown: Sequence[Attempt], value: Callable[[Attempt], float]) -> None:
    kinds: list[tuple[str, list[Attempt], dict[str, Any]]] = [
        (
            "what a batch needs, and its items",
            [each for each in shown if each.ok],
            {"s": 6, "color": "#444444", "linewidths": 0},
        ),
        (
            "OOM",
            [each for each in shown if not each.ok and not each.stepped],
            {"s": 42, "marker": "x", "color": "#d62728"},
        ),
        (
            "OOM by the co-tenant's step",
            [each for each in shown if each.stepped],
            {"s": 48, "marker": "^", "color": "#ff9f1c", "edgecolors": "black", "linewidths": 0.6},
        ),
    ]
    for label, attempts, look in kinds:
        axis.scatter(
            [each.begin for each in attempts], [value(each) for each in attempts], label=label, zorder=3, **look
        )
