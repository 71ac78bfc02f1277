"""Batch inference behind a message queue."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.client import Client, PendingResult

__all__ = ["Client", "PendingResult", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Performance: `import headrace` must stay free for a web app, so Celery and
    # numpy come with the first use of the client.
    if name in {"Client", "PendingResult"}:
        from headrace import client

        return getattr(client, name)
    raise AttributeError(f"module 'headrace' has no attribute {name!r}")
