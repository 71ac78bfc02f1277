"""What the device has."""
