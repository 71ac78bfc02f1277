import pytest

from headrace.broker.registry import WorkerRecord
from headrace.monitoring.health import healthy_workers

RECORDS = [
    WorkerRecord(name=name, device="cpu:0", models=[], resident=[])
    for name in ("cpu1@here", "cpu0@here", "run-7-cpu0@here", "cpu0@there")
]


@pytest.mark.parametrize(
    ("worker", "names"),
    [
        (None, ["cpu0@here", "cpu1@here", "run-7-cpu0@here"]),
        ("cpu0", ["cpu0@here"]),
        ("cpu0@there", ["cpu0@there"]),
        ("cpu7", []),
    ],
)
def test_workers_of_this_host_count_or_the_one_asked_for(worker: str | None, names: list[str]) -> None:
    assert healthy_workers(RECORDS, host="here", worker=worker) == names


def test_no_signs_of_life_mean_no_health() -> None:
    assert healthy_workers([], host="here") == []
