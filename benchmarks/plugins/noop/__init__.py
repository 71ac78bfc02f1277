"""A model that does nothing: what is left is the queue's own cost."""
