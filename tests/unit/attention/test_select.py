"""select_attention: flash-attn where it can run, torch's own everywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.attention.select import select_attention
from headrace.sdk import Device

DTYPES = st.sampled_from(["auto", "float32", "bfloat16", "float16"])


@given(st.sampled_from([Device("cpu"), Device("cuda", 3)]), DTYPES, st.booleans())
def test_something_that_runs_everywhere_comes_last(device: Device, dtype: str, has_flash: bool) -> None:  # noqa: FBT001  drawn by hypothesis
    assert select_attention(device, dtype, lambda _: has_flash)[-1] == "per_sequence"


@given(DTYPES)
def test_a_cpu_never_asks_for_flash(dtype: str) -> None:
    assert select_attention(Device("cpu"), dtype, lambda _: True) == ["per_sequence"]


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "float16"])
def test_a_gpu_in_half_precision_tries_flash_first(dtype: str) -> None:
    assert select_attention(Device("cuda"), dtype, {"flash_attn"}.__contains__) == ["flash_varlen", "per_sequence"]


def test_float32_and_a_missing_package_leave_flash_out() -> None:
    assert select_attention(Device("cuda"), "float32", lambda _: True) == ["per_sequence"]
    assert select_attention(Device("cuda"), "bfloat16", lambda _: False) == ["per_sequence"]
