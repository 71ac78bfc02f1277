"""The engine: the child process that owns a device, and the parent's handle on it."""
