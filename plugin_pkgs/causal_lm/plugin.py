"""CausalLM: the model whose weights `[models.causal_lm.weights]` names."""

from headrace.sdk.generation.plugin import CausalLMPlugin


class CausalLM(CausalLMPlugin):
    """Chats, where the model has a chat template, and completes."""
