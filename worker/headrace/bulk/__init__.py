"""Whole files of inputs through the queue: formats and the run."""
