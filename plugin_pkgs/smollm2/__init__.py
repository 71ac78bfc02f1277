"""SmolLM2-135M-Instruct: a small model that chats."""
