from headrace.broker.depth import Depth
from headrace.broker.registry import WorkerRecord
from headrace.cli.models import rows_of

MANIFEST = {"task": "embed", "version": "1", "devices": ["cpu", "cuda"]}


def record(name: str, models: list[str], resident: list[str]) -> WorkerRecord:
    return WorkerRecord(name=name, device="cpu:0", models=models, resident=resident)


def test_a_row_tells_who_serves_the_model_and_where_it_is_loaded() -> None:
    workers = [record("b@x", ["m", "n"], ["m"]), record("a@x", ["m"], [])]
    assert rows_of({"m": MANIFEST}, {"m": MANIFEST}, workers, {"m": Depth(waiting=7, dead=1)}) == [
        ("m", "embed", "1", "cpu,cuda", "a@x,b@x", "b@x", "7", "1", "here,workers")
    ]


def test_models_of_this_machine_and_of_workers_are_listed_by_name() -> None:
    rows = rows_of({"z": MANIFEST}, {"a": MANIFEST | {"version": "2"}}, [], {})
    assert rows == [
        ("a", "embed", "2", "cpu,cuda", "-", "-", "-", "-", "workers"),
        ("z", "embed", "1", "cpu,cuda", "-", "-", "-", "-", "here"),
    ]
