"""A short run of the chaos harness; `make chaos` is the long one."""

from pathlib import Path

import pytest

from headrace.broker.claims import Claims
from headrace.broker.connection import connect
from headrace.broker.results import Committer, Settlement, Write, result_key
from headrace.settings import Settings
from tests.faults.__main__ import account, faults, run
from tests.faults.ledger import Ledger
from tests.faults.world import Server

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("appendfsync", "seed"), [("always", 20261123), ("everysec", 20261124)])
def test_whatever_dies_each_job_has_one_outcome(tmp_path: Path, appendfsync: str, seed: int) -> None:
    ledger = run(tmp_path, jobs=500, seconds=9.0, workers=2, seed=seed, appendfsync=appendfsync)
    told = account(ledger)
    assert faults(ledger, jobs=500) == [], told
    assert sum(ledger.settlements[job_id] for job_id in ledger.submitted) == 500, told
    assert sum(ledger.acts.values()) >= 3, told


def test_the_ledger_tells_which_results_no_claim_stood_for(tmp_path: Path) -> None:
    server, ledger = Server(tmp_path), Ledger()
    writes = {job_id: Write(key=result_key(job_id), state="SUCCESS", value=b"{}") for job_id in "abcd"}
    with connect(server.url, Settings()) as client:
        claims = Claims(client, lease_seconds=60)
        claims.begin()
        client.lpush("infer.m", *"abc")
        tags = [claim.tag for claim in claims.claim({"infer.m": 3})]
        group = [(tag, [writes[job_id]], "") for tag, job_id in zip(tags[:2], "ab", strict=True)]
        assert claims.commit(group, expires=60) == ["done", "done"]
        assert claims.commit([(tags[2], [writes["c"]], "")], expires=60) == ["done"]
        assert Committer(client).commit([Settlement(number=None, writes=[writes["d"]])], expires=60) == ["done"]
    server.close()
    ledger.count_settlements(tmp_path)
    assert ledger.settlements == dict.fromkeys("abcd", 1)
    assert ledger.unfenced == {"d"}
