"""The Celery side: from a claimed job to its settled outcome."""
