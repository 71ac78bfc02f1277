"""PagedModel: one forward pass of a transformers causal LM over the tokens of many sequences."""

from collections.abc import Sequence as Several
from typing import Any

import torch
from torch import Tensor

from headrace.errors import SetupFailed
from headrace.sdk.generation.attention import Span, Step
from headrace.sdk.generation.cache import KVCache, KVShape
from headrace.sdk.generation.sequence import Sequence


class PagedModel:
    """Runs a model that was loaded with `attn_implementation=attention.NAME`."""

    def __init__(self, model: Any) -> None:
        """Take a loaded model.

        Raises:
            SetupFailed: If its attention is none that a paged cache of keys and values serves.
        """
        self._model = model
        config = model.config.get_text_config()
        if problem := unsupported(config, plain=bool(model._supports_attention_backend)):  # noqa: SLF001 - theirs
            raise SetupFailed(f"a {config.model_type} model cannot generate here: {problem}; choose another model")
        self.vocabulary: int = config.vocab_size
        #: Tokens that a sequence may have.
        self.context: int = config.max_position_embeddings
        self.kv_shape = KVShape(
            layers=config.num_hidden_layers,
            kv_heads=config.num_key_value_heads,
            head_dim=head_dim_of(config),
            dtype=model.dtype,
            device=model.device,
        )

    @torch.inference_mode()
    def run(self, cache: KVCache, sequences: Several[Sequence], counts: Several[int]) -> Tensor:
        """Run the next tokens of sequences, whose blocks they have.

        Args:
            cache: Holds what came before them, and what they bring.
            sequences: Whose.
            counts: How many tokens of each.

        Returns:
            Logits of the token behind the last one of each, (sequences, vocabulary).
        """
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        spans: list[Span] = []
        for sequence, count in zip(sequences, counts, strict=True):
            begin, end = sequence.cached, sequence.cached + count
            spans.append(Span(len(tokens), len(tokens) + count, begin, cache.place(sequence.blocks)))
            tokens += sequence.tokens[begin:end]
            positions += range(begin, end)
            slots += cache.slots(sequence.blocks, begin, end)
        device = self.kv_shape.device
        logits: Tensor = self._model(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
            logits_to_keep=torch.tensor([span.end - 1 for span in spans], device=device),
            paged=Step(cache, spans, torch.tensor(slots, device=device)),
        ).logits
        return logits[0]


def head_dim_of(config: Any) -> int:
    """Numbers in a key of one head."""
    told: int | None = getattr(config, "head_dim", None)
    return told or config.hidden_size // config.num_attention_heads


def unsupported(config: Any, *, plain: bool) -> str:
    """Why a model cannot run over a paged cache; empty if it can.

    Args:
        config: Its text model's.
        plain: Whether it calls attention by the name that it was loaded with.
    """
    kinds = sorted(set(getattr(config, "layer_types", None) or []) - {"full_attention"})
    if kinds:
        return f"it has layers of {', '.join(kinds)}"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return f"its layers see {config.sliding_window} tokens only"
    return "" if plain else "its attention cannot be replaced"
