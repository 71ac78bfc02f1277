"""PagedPlugin: token ids in, the next token's logits out, by a model whose weights may be paged."""

from collections.abc import Sequence
from typing import Any, ClassVar

from headrace.errors import InvalidInput, WeightsError
from headrace.sdk import Footprint, Item, ModelPluginInterface, Outcome, Prepared
from headrace.sdk.paging import load_pretrained, read_placed, release


class PagedPlugin(ModelPluginInterface):
    """Any causal language model of transformers, in the number type of its configuration."""

    pages_weights: ClassVar[bool] = True
    model: Any = None

    def load_model(self) -> None:
        """Load by the placement that there is, and say what became of it."""
        import torch
        from transformers import AutoModelForCausalLM

        if self.config.weights is None:
            raise WeightsError("model paged has no weights: name them under [models.paged.weights]")
        self.model = load_pretrained(
            AutoModelForCausalLM,
            self.config.weights.resolve(),
            dtype=torch.float32 if self.config.dtype == "auto" else getattr(torch, self.config.dtype),
            device=self.device,
            placement=self.placement,
            attn_implementation="sdpa",
        )
        self.placed = read_placed(self.model, self.device)

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        """The size of an item is its number of tokens."""
        return [_prepare(item) for item in items]

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Run the batch padded on the right, where a causal model doesn't look."""
        import torch

        ends = torch.tensor([item.size - 1 for item in batch])
        rows = [torch.tensor(item.data) for item in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device.torch_name)
        with torch.inference_mode():
            logits = self.model(ids, use_cache=False).logits.float().cpu()
        return [Outcome(output=row) for row in logits[torch.arange(len(batch)), ends].numpy()]

    def cleanup(self) -> None:
        """Drop the model, and then what lies on disk."""
        self.model = self.placed = None
        release(self.placement)

    def footprint(self) -> Footprint:
        """Unknown: by the model."""
        return Footprint()


def _prepare(item: Item) -> Prepared:
    ids = item.input.get("ids") if isinstance(item.input, dict) else None
    if not isinstance(ids, list) or not ids or not all(isinstance(each, int) for each in ids):
        return Prepared(error=InvalidInput('the field "ids" must be a list of token ids'))
    return Prepared(size=len(ids), data=ids)
