"""SmolLM2Plugin: text generation with a model of 135 million parameters."""

from headrace.sdk.generation.plugin import CausalLMPlugin


class SmolLM2Plugin(CausalLMPlugin):
    """Chats and completes; its weights come by `headrace models pull smollm2`."""
