"""CostStore: what was kept is read again, by its own key, and rubbish is as nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.memory.shape import Shape
from headrace.memory.store import CostKey, Costs, CostStore

KEY = CostKey(model="minilm", version="1.0", device="NVIDIA H100 80GB HBM3", config='{"dtype":"auto"}')
COSTS = Costs(weights=7, load_seconds=1.5, memory=[(Shape(1, 2, 3), 4.5)], time=[(Shape(1, 2, 3), 0.25)])


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    CostStore(tmp_path / "costs").save(KEY, COSTS)
    assert CostStore(tmp_path / "costs").load(KEY) == COSTS
    assert (tmp_path / "costs").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("field", ["model", "version", "device", "config"])
def test_another_model_version_device_or_configuration_is_another_matter(tmp_path: Path, field: str) -> None:
    store = CostStore(tmp_path)
    store.save(KEY, COSTS)
    assert store.load(replace(KEY, **{field: "../other"})) == Costs()
    store.save(replace(KEY, **{field: "../other"}), COSTS)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("text", [
    "", "[]", '{"weights": 1}', '{"weights":1,"load_seconds":1,"memory":[[1]],"time":[]}',
    '{"weights":1,"load_seconds":1,"memory":[[{"items":1,"units":1,"longest":1}]],"time":[]}',
    '{"weights":1' + 400 * "0" + ',"load_seconds":1,"memory":[],"time":[]}',
    '{"weights":Infinity,"load_seconds":1,"memory":[],"time":[]}',
    '{"weights":-1,"load_seconds":1,"memory":[],"time":[]}',
    '{"weights":1,"load_seconds":NaN,"memory":[],"time":[]}',
    '{"weights":1,"load_seconds":1,"memory":[[{"items":1,"units":1e300,"longest":1},1]],"time":[]}',
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_as_none(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / KEY.file_name).write_text(text)
    assert CostStore(tmp_path).load(KEY) == Costs()
    assert "learned anew" in caplog.text


def test_a_folder_that_cannot_be_written_costs_nothing_but_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "costs").write_text("a file")
    CostStore(tmp_path / "costs").save(KEY, COSTS)
    assert "cannot be kept" in caplog.text
