from headrace.broker.depth import Depth
from headrace.broker.registry import ServedModel, WorkerRecord
from headrace.cli.models import rows_of

MANIFEST = {"task": "embed", "version": "1", "devices": ["cpu", "cuda"]}


def record(name: str, models: list[str], **served: ServedModel) -> WorkerRecord:
    return WorkerRecord(name=name, device="cpu:0", models=models, served=served)


def served(state: str, *, weights: int = 0, rate: float | None = None, note: str = "") -> ServedModel:
    return ServedModel(state=state, weights=weights, rate=rate, note=note)


def test_a_row_tells_who_serves_the_model_and_its_state_at_each() -> None:
    busy = served("BUSY", weights=5 * 2**20, rate=1234.5, note="2 MiB on disk")
    workers = [record("b@x", ["m", "n"], m=busy), record("a@x", ["m"]), record("c@x", [], m=served("EVICTED"))]
    states = "b@x BUSY, 5 MiB, 1,234.5 items/s, 2 MiB on disk; c@x EVICTED"
    assert rows_of({"m": MANIFEST}, {"m": MANIFEST}, workers, {"m": Depth(waiting=7, dead=1)}) == [
        (
            "m",
            "embed",
            "1",
            "cpu,cuda",
            "a@x,b@x",
            states,
            "7",
            "1",
            "here,workers",
        )
    ]


def test_models_of_this_machine_and_of_workers_are_listed_by_name() -> None:
    rows = rows_of({"z": MANIFEST}, {"a": MANIFEST | {"version": "2"}}, [], {})
    assert rows == [
        ("a", "embed", "2", "cpu,cuda", "-", "-", "-", "-", "workers"),
        ("z", "embed", "1", "cpu,cuda", "-", "-", "-", "-", "here"),
    ]
