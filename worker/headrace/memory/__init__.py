"""How much of the device a batch may take."""
