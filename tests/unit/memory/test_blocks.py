"""read_blocks: what a model takes, told by the headers of its files."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from headrace.errors import WeightsError
from headrace.memory.blocks import block_of, read_blocks


def _save(path: Path, **numbers: int) -> None:
    """Tensors of so many float32 numbers; `__` in a name is a dot."""
    save_file({name.replace("__", "."): np.zeros((count, 1), np.float32) for name, count in numbers.items()}, path)


def test_a_layer_is_a_block_and_so_is_each_module_outside(tmp_path: Path) -> None:
    _save(
        tmp_path / "model.safetensors",
        model__embed__weight=10,
        model__layers__0__attention__q__weight=2,
        model__layers__0__mlp__weight=3,
        model__layers__1__mlp__weight=4,
        model__norm__weight=1,
        model__norm__bias=1,
    )
    assert read_blocks(tmp_path) == [40, 20, 16, 8]


def test_layers_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    layers = {f"layers__{number}__weight": number + 1 for number in range(12)}
    _save(tmp_path / "model.safetensors", **layers)
    assert read_blocks(tmp_path) == [4 * (number + 1) for number in range(12)]


def test_another_number_type_takes_other_bytes(tmp_path: Path) -> None:
    _save(tmp_path / "model.safetensors", head__weight=10)
    assert read_blocks(tmp_path, itemsize=2) == [20]


def test_shards_count_as_their_index_names_them(tmp_path: Path) -> None:
    _save(tmp_path / "a.safetensors", layers__0__weight=1)
    _save(tmp_path / "b.safetensors", layers__0__bias=2, layers__1__weight=3)
    _save(tmp_path / "consolidated.safetensors", everything=6)
    index = {"weight_map": {"layers.0.weight": "a.safetensors", "layers.1.weight": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_blocks(tmp_path) == [12, 12]


def test_without_an_index_model_safetensors_is_meant_and_else_all(tmp_path: Path) -> None:
    _save(tmp_path / "x.safetensors", x__weight=1)
    _save(tmp_path / "y.safetensors", y__weight=2)
    assert read_blocks(tmp_path) == [4, 8]
    _save(tmp_path / "model.safetensors", z__weight=3)
    assert read_blocks(tmp_path) == [12]


def test_a_name_without_a_number_is_its_modules() -> None:
    assert [block_of(name) for name in ("weight", "head.weight", "h.0.mlp.1.weight", "block.7")] == [
        "",
        "head",
        "h.0",
        "block",
    ]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[12]",
        b'{"a": 1}',
        b'{"a": {"shape": [1]}}',
        b'{"a": {"shape": [1], "data_offsets": ["x"]}}',
        b'{"a": {"shape": [1], "data_offsets": [4, 0]}}',
        b'{"a": {"shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"shape": ["x"], "data_offsets": [0, 4]}}',
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsError, match=r"model\.safetensors can't be read, or is no safetensors file"):
        read_blocks(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x02", (2**63).to_bytes(8, "little") + b'{"a": '])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.safetensors can't be read"):
        read_blocks(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"weight_map": 1}', '{"weight_map": {"a": 5}}', '{"weight_map": {"a": "../b.safetensors"}}'],
)
def test_an_index_that_is_malformed_or_leads_out_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(WeightsError, match=r"index\.json can't be read"):
        read_blocks(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no safetensors file"):
        read_blocks(tmp_path)
