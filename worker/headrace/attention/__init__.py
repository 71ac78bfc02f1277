"""Attention: one file per strategy, chosen by device, number type and what the model asks."""

from headrace.attention.load import load_attention

__all__ = ["load_attention"]
