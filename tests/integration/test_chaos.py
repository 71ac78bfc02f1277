"""A short run of the chaos harness; `make chaos` is the long one."""

from pathlib import Path

import pytest

from tests.faults.__main__ import account, faults, run

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("appendfsync", "seed"), [("always", 20261123), ("everysec", 20261124)])
def test_whatever_dies_each_job_has_one_outcome(tmp_path: Path, appendfsync: str, seed: int) -> None:
    ledger = run(tmp_path, jobs=500, seconds=9.0, workers=2, seed=seed, appendfsync=appendfsync)
    told = account(ledger)
    assert faults(ledger, jobs=500) == [], told
    assert sum(ledger.settlements[job_id] for job_id in ledger.submitted) == 500, told
    assert sum(ledger.acts.values()) >= 3, told
