"""Dense: both layers compute the same, and the plain one stands in where the other is missing."""

import logging
from collections.abc import Iterator

import pytest
import torch

from plugin_pkgs.minilm import dense
from plugin_pkgs.minilm.dense import OneDnnDense, TorchDense, make_dense, one_dnn_works


@pytest.fixture
def fresh() -> Iterator[None]:
    """Let the probe run again, before and after."""
    one_dnn_works.cache_clear()
    yield
    one_dnn_works.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 7, 1500])
def test_both_layers_agree(dtype: torch.dtype, tokens: int) -> None:
    if not one_dnn_works(dtype):
        pytest.skip("this torch has no fused layers")
    generator = torch.Generator().manual_seed(tokens)
    weight, bias, x, residual = (
        torch.randn(shape, generator=generator).to(dtype) / 4 for shape in ((48, 32), (48,), (tokens, 32), (tokens, 48))
    )
    plain, fused = TorchDense(weight, bias), OneDnnDense(weight, bias, tokens=1024)
    rounding = {"rtol": 0.02, "atol": 0.02} if dtype is torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), plain(x), **rounding)
        torch.testing.assert_close(fused.gelu(x), plain.gelu(x), **rounding)
        torch.testing.assert_close(fused.add(x, residual), plain.add(x, residual), **rounding)


@pytest.mark.usefixtures("fresh")
def test_a_torch_without_the_operators_falls_back_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise AttributeError("_linear_pointwise")

    monkeypatch.setattr(dense, "OneDnnDense", gone)
    with caplog.at_level(logging.WARNING):
        assert isinstance(make_dense(torch.eye(2), torch.ones(2), tokens=8), TorchDense)
    assert "_linear_pointwise" in caplog.text
