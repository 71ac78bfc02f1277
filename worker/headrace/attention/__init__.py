"""Attention over packed sequences: one file per strategy, chosen by device and number type."""

from headrace.attention.load import load_attention

__all__ = ["load_attention"]
