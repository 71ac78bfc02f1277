"""The part of benchmarks/memory.py that runs MiniLM: nothing is lost, whatever the co-tenant does."""

from benchmarks import memory_minilm


def test_no_policy_loses_a_text() -> None:
    tallies = memory_minilm.compare(1, seconds=0.5)
    assert {name: each.lost for name, each in tallies.items()} == dict.fromkeys(("headrace", *memory_minilm.OTHERS), 0)
    assert all(each.items for each in tallies.values())
