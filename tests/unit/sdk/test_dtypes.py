"""Number types: bfloat16 only where the hardware has it."""

from pathlib import Path

import pytest
import torch

from headrace.sdk import Device
from headrace.sdk.dtypes import choose_dtype, cpu_has_bf16


@pytest.mark.parametrize(
    ("flags", "expected"), [("fpu avx512_bf16 sse", True), ("fpu amx_bf16", True), ("fpu avx512f", False)]
)
def test_bfloat16_is_told_by_the_cpus_flags(tmp_path: Path, flags: str, expected: bool) -> None:  # noqa: FBT001  a table's column
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor: 0\nflags\t\t: {flags}\n")
    assert cpu_has_bf16(cpuinfo) is expected


def test_a_system_without_cpuinfo_has_no_bfloat16(tmp_path: Path) -> None:
    assert cpu_has_bf16(tmp_path / "cpuinfo") is False


def test_the_configured_number_type_is_taken_and_auto_follows_the_hardware() -> None:
    assert choose_dtype("float16", Device("cpu")) is torch.float16
    assert choose_dtype("auto", Device("cpu")) is (torch.bfloat16 if cpu_has_bf16() else torch.float32)
