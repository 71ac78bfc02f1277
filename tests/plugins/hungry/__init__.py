"""A plugin that needs as much memory as it is told to."""
