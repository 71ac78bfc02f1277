"""Plugins: found by their manifests, created on their first job, kept while they are wanted."""
