"""Dense layers: torch's own, and oneDNN's with weights laid out for it and the step after fused in."""

import logging
from abc import ABC, abstractmethod
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear

logger = logging.getLogger(__name__)


class Dense(ABC):
    """A linear layer, and the two steps that follow one in an encoder.

    Takes (tokens, in) and gives (tokens, out).
    """

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """The product and the bias."""

    @abstractmethod
    def gelu(self, x: Tensor) -> Tensor:
        """The exact GELU (by the error function) of the layer's output."""

    @abstractmethod
    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """The layer's output plus a residual of its shape."""


class TorchDense(Dense):
    """Runs on every device."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """The product and the bias."""
        return linear(x, self._weight, self._bias)

    def gelu(self, x: Tensor) -> Tensor:
        """The exact GELU of the layer's output."""
        return gelu(self(x))

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """The layer's output plus a residual."""
        return self(x).add_(residual)


class OneDnnDense(Dense):
    """Runs on CPUs, through the operators that torch.compile calls there.

    Performance: saves the weights' reordering in each call and one pass over each output,
    8 % of MiniLM's time in bfloat16. torch.compile gains as much after 20 seconds.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, tokens: int) -> None:
        """Lay the weight out for batches of about `tokens` tokens; others work as well."""
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, tokens)  # noqa: SLF001  no public name
        self._bias = bias
        self._linear = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001  no public name

    def __call__(self, x: Tensor) -> Tensor:
        """The product and the bias."""
        result: Tensor = self._linear(x, self._weight, self._bias, "none", [], "")
        return result

    def gelu(self, x: Tensor) -> Tensor:
        """The exact GELU of the layer's output."""
        result: Tensor = self._linear(x, self._weight, self._bias, "gelu", [], "none")
        return result

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """The layer's output plus a residual."""
        result: Tensor = self._linear.binary(x, residual, self._weight, self._bias, "add")
        return result


def make_dense(weight: Tensor, bias: Tensor, *, tokens: int) -> Dense:
    """The faster of the two that works here for a weight of (out, in) and its bias."""
    if weight.device.type == "cpu" and one_dnn_works(weight.dtype):
        return OneDnnDense(weight, bias, tokens=tokens)
    return TorchDense(weight, bias)


@cache
def one_dnn_works(dtype: torch.dtype) -> bool:
    """Whether this torch and CPU have oneDNN's layers in a number type, and they are right."""
    weight, bias, x = torch.eye(16, dtype=dtype), torch.ones(16, dtype=dtype), torch.ones(2, 16, dtype=dtype)
    try:
        with torch.inference_mode():
            layer = OneDnnDense(weight, bias, tokens=2)
            return bool(torch.equal(layer(x), x + 1) and torch.equal(layer.add(x, x), x + 2))
    except (AttributeError, RuntimeError) as error:
        # Hazard: the names are torch's own and may change; then torch's plain operators do.
        logger.warning("oneDNN's fused layers cannot be used: %s", error)
        return False
