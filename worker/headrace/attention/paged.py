"""RegisteredAttention: what paged strategies share, which is their way into a model of transformers."""

from abc import abstractmethod
from typing import Any

from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from headrace.sdk.attention import PagedAttention
from headrace.sdk.generation.attention import Step
from headrace.sdk.generation.cache import KVLayer


class RegisteredAttention(PagedAttention):
    """Writes what a step brings into the cache, and leaves it to `attend` to read from there."""

    def __init__(self, name: str, implementation: str) -> None:
        """Make it known to transformers.

        Args:
            name: As the user sees it.
            implementation: As transformers knows it; without "flash" in it, by which transformers would take it for
                one of its own, and look for that one's package.
        """
        self.name, self.implementation = name, implementation
        AttentionInterface.register(implementation, self._run)
        # Each sequence sees its own tokens only: there is nothing to mask.
        AttentionMaskInterface.register(implementation, lambda *_, **__: None)

    @abstractmethod
    def attend(self, layer: KVLayer, query: Tensor, step: Step, scaling: float) -> Tensor:
        """Let each token attend to those of its sequence up to itself.

        Args:
            layer: Holds keys and values, those of the step too.
            query: (tokens, heads, head_dim), all sequences one after the other; keys may have fewer heads.
            step: What runs.
            scaling: Of the products.

        Returns:
            As `query`.
        """

    def _run(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        step: Step = kwargs["paged"]
        layer = step.cache.layers[module.layer_idx]
        layer.write(step.slots, key[0].transpose(0, 1), value[0].transpose(0, 1))
        return self.attend(layer, query[0].transpose(0, 1), step, kwargs["scaling"])[None], None
