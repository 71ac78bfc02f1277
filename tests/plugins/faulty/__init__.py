"""A plugin that misbehaves when its input says so."""
