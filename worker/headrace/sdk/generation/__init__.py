"""Text generation: sequences that join and leave a running batch at every token, over a paged KV cache.

A package of its own, imported by plugins that generate: it needs torch.
"""
