"""Any causal language model of transformers', named by the user's configuration."""
