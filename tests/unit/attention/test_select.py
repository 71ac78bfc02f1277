"""select_attention: flash-attn where it can run, torch's own everywhere; each choice says why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.attention.select import FLASH_PACKAGES, select_attention
from headrace.hardware.profile import DeviceProfile
from headrace.sdk import AttentionNeed, Device

CPU = DeviceProfile(device=Device("cpu"))
PACKED, PAGED = AttentionNeed(), AttentionNeed(layout="paged", head_dim=64)
BOTH = frozenset(FLASH_PACKAGES.values())
V2, V3 = {"flash_attn"}, {"flash_attn_interface"}


def gpu(*capability: int) -> DeviceProfile:
    return DeviceProfile(device=Device("cuda"), compute_capability=capability or None)  # type: ignore[arg-type]  # two numbers


TURING, AMPERE, ADA, HOPPER, BLACKWELL = gpu(7, 5), gpu(8, 0), gpu(8, 9), gpu(9, 0), gpu(10, 0)
PROFILES = st.sampled_from([CPU, gpu(), TURING, AMPERE, ADA, HOPPER, BLACKWELL])
DTYPES = st.sampled_from(["auto", "float32", "bfloat16", "float16"])
NEEDS = st.builds(
    AttentionNeed,
    layout=st.sampled_from(["packed", "paged"]),
    head_dim=st.sampled_from([0, 64, 100, 512]),
    has_windows=st.booleans(),
)


@given(PROFILES, DTYPES, NEEDS, st.frozensets(st.sampled_from(sorted(BOTH))))
def test_what_runs_everywhere_comes_last_and_each_has_a_reason(
    profile: DeviceProfile, dtype: str, need: AttentionNeed, installed: frozenset[str]
) -> None:
    choices = select_attention(profile, dtype, need, installed.__contains__)
    last = ["paged|sdpa", "paged|eager"] if need.layout == "paged" else ["per_sequence"]
    assert [choice.name for choice in choices][-len(last) :] == last
    assert all(choice.reason for choice in choices)
    assert len({choice.name for choice in choices}) == len(choices)


@pytest.mark.parametrize(
    ("profile", "dtype", "installed", "flash"),
    [
        (AMPERE, "auto", BOTH, [2]),
        (AMPERE, "bfloat16", V2, [2]),
        (ADA, "float16", BOTH, [2]),
        (BLACKWELL, "bfloat16", BOTH, [2]),
        (HOPPER, "bfloat16", BOTH, [3, 2]),
        (HOPPER, "auto", V3, [3]),
        (HOPPER, "auto", V2, [2]),
        (AMPERE, "auto", V3, []),
        (HOPPER, "auto", (), []),
        (HOPPER, "float32", BOTH, []),
        (TURING, "float16", BOTH, []),
        (gpu(), "float16", BOTH, []),
        (CPU, "bfloat16", BOTH, []),
    ],
)
def test_flash_attn_comes_first_where_it_is_installed_and_can_run(
    profile: DeviceProfile, dtype: str, installed: frozenset[str], flash: list[int]
) -> None:
    packed, paged = (
        [choice.name for choice in select_attention(profile, dtype, need, installed.__contains__)]
        for need in (PACKED, PAGED)
    )
    assert packed == [*(f"flash_attention_{each}" for each in flash), "per_sequence"]
    assert paged == [*(f"paged|flash_attention_{each}" for each in flash), "paged|sdpa", "paged|eager"]


@pytest.mark.parametrize(
    ("profile", "dtype", "need", "installed", "reason"),
    [
        (CPU, "auto", PAGED, BOTH, "flash-attn needs an NVIDIA GPU"),
        (gpu(), "auto", PAGED, BOTH, "the GPU does not tell its compute capability"),
        (TURING, "auto", PACKED, BOTH, "flash-attn needs compute capability 8.0, the GPU has 7.5"),
        (AMPERE, "float32", PAGED, BOTH, "flash-attn computes in half precision, not in float32"),
        (AMPERE, "auto", AttentionNeed(has_windows=True), BOTH, "the model has layers that see less than all"),
        (AMPERE, "auto", AttentionNeed(head_dim=512), BOTH, "flash-attn does not take heads of 512"),
        (AMPERE, "auto", AttentionNeed(head_dim=100), BOTH, "flash-attn does not take heads of 100"),
        (AMPERE, "auto", PAGED, (), "flash-attn is not installed"),
        (AMPERE, "auto", AttentionNeed(head_dim=256), BOTH, "flash-attn does not run"),
    ],
)
def test_torchs_own_says_why_it_is_not_flash_attn(
    profile: DeviceProfile, dtype: str, need: AttentionNeed, installed: frozenset[str], reason: str
) -> None:
    choices = {choice.name: choice.reason for choice in select_attention(profile, dtype, need, installed.__contains__)}
    assert choices["paged|sdpa" if need.layout == "paged" else "per_sequence"] == f"torch's own: {reason}"


def test_flash_attn_says_on_what_it_runs() -> None:
    first, *_ = select_attention(HOPPER, "auto", PAGED, BOTH.__contains__)
    assert (first.name, first.reason) == ("paged|flash_attention_3", "installed, and runs on compute capability 9.0")
