"""load_attention: the first strategy that works; one that can't run is passed over."""

import logging
import sys
from types import ModuleType

import pytest

from headrace.attention import load, load_attention
from headrace.sdk import Device

torch = pytest.importorskip("torch")


def test_a_cpu_gets_attention_per_sequence() -> None:
    assert load_attention(Device("cpu"), "bfloat16").name == "per_sequence"


def test_an_installed_flash_attn_that_cannot_run_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ImportError("undefined symbol")

    monkeypatch.setattr(load, "_is_installed", lambda _: True)
    monkeypatch.setitem(load._CREATORS, "flash_varlen", fail)
    with caplog.at_level(logging.WARNING):
        assert load_attention(Device("cuda"), "bfloat16").name == "per_sequence"
    assert "undefined symbol" in caplog.text


@pytest.fixture
def flash_attn(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the flash-attn package that keeps how it was called."""
    module = ModuleType("flash_attn")
    module.calls = []

    def flash_attn_varlen_func(*arguments: object) -> object:
        module.calls.append(arguments)
        return arguments[0]

    module.flash_attn_varlen_func = flash_attn_varlen_func
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    monkeypatch.delitem(sys.modules, "headrace.attention.flash_varlen", raising=False)
    return module


def test_flash_attn_gets_the_same_bounds_for_queries_and_keys(
    flash_attn: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_is_installed", lambda _: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    strategy = load_attention(Device("cuda"), "auto")
    assert strategy.name == "flash_varlen"
    q, k, v = torch.ones(3, 5, 2, 4).unbind(0)
    bounds = torch.tensor([0, 2, 5], dtype=torch.int32)
    assert strategy.varlen(q, k, v, bounds, 3) is q
    assert flash_attn.calls == [(q, k, v, bounds, bounds, 3, 3)]


def test_an_older_gpu_does_without_flash_attn(flash_attn: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_is_installed", lambda _: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert load_attention(Device("cuda"), "auto").name == "per_sequence"


@pytest.mark.gpu
def test_flash_attn_and_attention_per_sequence_agree() -> None:
    pytest.importorskip("flash_attn")
    device = Device("cuda")
    bounds = torch.tensor([0, 7, 40, 41], dtype=torch.int32, device="cuda")
    q, k, v = torch.randn(41, 3, 12, 32, device="cuda", dtype=torch.bfloat16).unbind(1)
    results = [load_attention(device, dtype).varlen(q, k, v, bounds, 33) for dtype in ("bfloat16", "float32")]
    torch.testing.assert_close(*results, rtol=0.02, atol=0.02)
