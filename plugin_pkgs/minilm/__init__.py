"""all-MiniLM-L6-v2: sentence embeddings of 384 numbers."""
