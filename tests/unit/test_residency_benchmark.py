"""benchmarks/residency.py: a short run of it holds what the long one promises."""

from dataclasses import replace

from benchmarks.residency import compare, complaints, report
from benchmarks.virtual_device import Setting

SHORT = Setting(load=0.7, duration=300.0)


def test_ours_swaps_less_and_waits_less_than_lru_and_fifo_and_keeps_its_bound(capsys) -> None:
    rows = compare(SHORT, seeds=[1, 2])
    assert complaints(SHORT, rows) == []
    report(SHORT, rows)
    assert "headrace" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_table() -> None:
    assert compare(SHORT, seeds=[3]) == compare(SHORT, seeds=[3])


def test_a_broken_promise_is_told() -> None:
    rows = compare(SHORT, seeds=[1])
    worse = rows | {"headrace": replace(rows["LRU"], longest=SHORT.bound + 1)}
    assert complaints(SHORT, worse) == [
        "no fewer swaps than LRU",
        "95th percentile no lower than with LRU",
        *(["no fewer swaps than FIFO"] if rows["LRU"].swaps >= rows["FIFO"].swaps else []),
        *(["95th percentile no lower than with FIFO"] if rows["LRU"].p95 >= rows["FIFO"].p95 else []),
        f"waited longer than the bound of {SHORT.bound:.0f} s",
    ]


def test_with_more_work_than_time_the_turns_are_bounded_and_the_items_are_not() -> None:
    flooded = replace(SHORT, load=3.0)
    rows = compare(flooded, seeds=[1])
    assert rows["headrace"].longest > flooded.bound > rows["headrace"].unserved
    assert complaints(flooded, rows) == []
