"""A language model that may be larger than its device."""
