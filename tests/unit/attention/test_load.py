"""load_attention: the first strategy that works; one that can't run is passed over."""

import logging
import sys
from types import ModuleType

import pytest

from headrace.attention import load, load_attention
from headrace.attention.load import first_that_works
from headrace.attention.select import Choice
from headrace.errors import SetupFailed
from headrace.hardware.profile import DeviceProfile
from headrace.sdk import AttentionNeed, AttentionStrategy, Device, PackedAttention, PagedAttention

torch = pytest.importorskip("torch")

CPU, HOPPER = DeviceProfile(device=Device("cpu")), DeviceProfile(device=Device("cuda"), compute_capability=(9, 0))
PAGED = AttentionNeed(layout="paged")


class Plain(AttentionStrategy):
    name = "plain"


def _fails() -> AttentionStrategy:
    raise ImportError("undefined symbol")


def test_a_cpu_gets_torchs_own_and_is_told_why() -> None:
    packed, paged = load_attention(CPU, "bfloat16"), load_attention(CPU, "bfloat16", PAGED)
    assert str(packed) == "per_sequence (torch's own: flash-attn needs an NVIDIA GPU)"
    assert str(paged) == "paged|sdpa (torch's own: flash-attn needs an NVIDIA GPU)"
    assert isinstance(paged, PagedAttention)


def test_they_are_tried_in_order_and_what_failed_is_the_reason_for_the_next(caplog: pytest.LogCaptureFixture) -> None:
    choices = [Choice("a", "fastest"), Choice("b", "fast"), Choice("c", "slow"), Choice("d", "slowest")]
    creators = {"a": _fails, "b": _fails, "c": Plain, "d": Plain}
    with caplog.at_level(logging.WARNING):
        assert str(first_that_works(choices, creators)) == "plain (b cannot be used: ImportError: undefined symbol)"
    assert [record.getMessage() for record in caplog.records] == [
        f"attention {name} cannot be used: ImportError: undefined symbol" for name in ("a", "b")
    ]
    assert str(first_that_works(choices[2:], creators)) == "plain (slow)"


def test_where_none_can_be_used_the_model_is_refused_with_the_cause() -> None:
    with pytest.raises(SetupFailed, match="the last of 1 tried, a cannot be used: ImportError: undefined symbol"):
        first_that_works([Choice("a", "why")], {"a": _fails})


def test_a_flash_attn_of_another_make_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_is_installed", lambda _: True)
    for package in ("flash_attn", "flash_attn_interface"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    paged = load_attention(HOPPER, "bfloat16", PAGED)
    assert paged.name == "paged|sdpa"
    assert "paged|flash_attention_2 cannot be used: AttributeError" in paged.reason
    assert load_attention(HOPPER, "bfloat16").name == "per_sequence"


def test_every_choice_has_a_creator_and_none_is_looked_for_on_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations.hub_kernels import is_kernel
    from transformers.utils.generic import is_flash_attention_requested

    for package in ("flash_attn", "flash_attn_interface"):
        module = ModuleType(package)
        module.flash_attn_varlen_func = None
        monkeypatch.setitem(sys.modules, package, module)
    made = {name: create() for name, create in load.CREATORS.items()}
    assert {name: each.name for name, each in made.items()} == {name: name for name in load.CREATORS}
    names = [each.implementation for each in made.values() if isinstance(each, PagedAttention)]
    assert len(set(names)) == len(names) == 4
    assert not any(is_kernel(each) or is_flash_attention_requested(None, each) for each in names)


@pytest.mark.parametrize("gives_sums", [False, True])
def test_flash_attn_gets_the_same_bounds_for_queries_and_keys(
    monkeypatch: pytest.MonkeyPatch, *, gives_sums: bool
) -> None:
    calls: list[tuple[object, ...]] = []

    def flash_attn_varlen_func(*arguments: object) -> object:
        calls.append(arguments)
        return (arguments[0], "sums") if gives_sums else arguments[0]

    module = ModuleType("flash_attn_interface")
    module.flash_attn_varlen_func = flash_attn_varlen_func
    monkeypatch.setitem(sys.modules, "flash_attn_interface", module)
    monkeypatch.setattr(load, "_is_installed", "flash_attn_interface".__eq__)
    strategy = load_attention(HOPPER, "auto")
    assert isinstance(strategy, PackedAttention)
    assert strategy.name == "flash_attention_3"
    q, k, v = torch.ones(3, 5, 2, 4).unbind(0)
    bounds = torch.tensor([0, 2, 5], dtype=torch.int32)
    assert strategy.varlen(q, k, v, bounds, 3) is q
    assert calls == [(q, k, v, bounds, bounds, 3, 3)]


@pytest.mark.gpu
def test_flash_attn_and_attention_per_sequence_agree() -> None:
    pytest.importorskip("flash_attn")
    profile = DeviceProfile(device=Device("cuda"), compute_capability=torch.cuda.get_device_capability())
    bounds = torch.tensor([0, 7, 40, 41], dtype=torch.int32, device="cuda")
    q, k, v = torch.randn(41, 3, 12, 32, device="cuda", dtype=torch.bfloat16).unbind(1)
    strategies = [load_attention(profile, dtype) for dtype in ("bfloat16", "float32")]
    results = [each.varlen(q, k, v, bounds, 33) for each in strategies if isinstance(each, PackedAttention)]
    torch.testing.assert_close(*results, rtol=0.02, atol=0.02)
