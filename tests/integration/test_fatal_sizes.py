"""An engine that a batch's size kills: the size is remembered, and every job is answered."""

import json
from pathlib import Path

import pytest

from headrace.client import Client
from tests.integration.cluster import Cluster, forget_settings

pytestmark = pytest.mark.integration

#: Items of a batch that the plugin survives.
SURVIVED = 40


def _configure(monkeypatch: pytest.MonkeyPatch, ledger: Path) -> None:
    config = {"claim": 1, "fatal": SURVIVED, "ledger": str(ledger)}
    monkeypatch.setenv("HEADRACE_MODELS", json.dumps({"hungry": config}))
    monkeypatch.setenv("HEADRACE_VIRTUAL_MEMORY", "1GiB")
    forget_settings()


def _begun(ledger: Path) -> list[int]:
    return [int(line) for line in ledger.read_text().split()]


def test_a_size_that_killed_an_engine_is_not_tried_again_by_it_or_by_later_workers(
    client: Client, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    _configure(monkeypatch, ledger)
    for run in range(3):
        with cluster.workers("hungry"):
            jobs = client.submit_many("hungry", [{"size": 1}] * 300)
            assert [job.result(timeout=30)["size"] for job in jobs] == [1] * 300
        fatal = [units for units in _begun(ledger) if units > SURVIVED]
        if run == 0:
            known = fatal
            # The worker halves a fatal batch, and nothing above a half is tried.
            assert [2 * half for half in fatal[1:]] == fatal[:-1]
            ledger.write_text("")
    assert (len(known) > 0, fatal) == (True, [])
    assert max(_begun(ledger)) == known[-1] // 2
    assert "an engine has died of a batch" in cluster.log.read_text()


def test_an_item_that_is_fatal_by_itself_is_not_held_against_the_size_of_its_batches(
    client: Client, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    _configure(monkeypatch, ledger)
    inputs = [{"size": SURVIVED + 1}, *[{"size": 1}] * 30]
    with cluster.workers("hungry"):
        failed, *others = client.map("hungry", inputs, chunk_size=31)
        assert (getattr(failed.error, "code", None), [each.error for each in others]) == ("engine_died", [None] * 30)
        client.submit_many("hungry", [{"size": 1}] * 30)[-1].result(timeout=30)
        again = list(client.map("hungry", [{"size": 1}] * 30, chunk_size=30))
    assert {each.batch_size for each in again} == {30}
