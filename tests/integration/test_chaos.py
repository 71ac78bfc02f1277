"""A short run of the chaos harness; `make chaos` is the long one."""

from pathlib import Path

import pytest

from tests.faults.__main__ import account, run

pytestmark = pytest.mark.integration


def test_whatever_dies_each_job_has_one_outcome(tmp_path: Path) -> None:
    ledger = run(tmp_path, jobs=600, seconds=12.0, workers=2, seed=20261123)
    told = account(ledger)
    assert (told["unanswered"], told["outcome changed"]) == (0, 0), told
    assert told["succeeded"] == told["submitted"] == 600, told
    assert sum(ledger.acts.values()) >= 3, told
