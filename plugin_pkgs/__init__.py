"""The plugins that come with headrace; each folder is self-contained and found by its manifest."""
