"""A plain Redis connection for what Celery has no words for."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import redis

from headrace.errors import BrokerUnavailable
from headrace.settings import Settings


def connect(url: str, settings: Settings) -> redis.Redis:
    """Make a client for the URL forms that Celery takes; it connects on first use."""
    return redis.Redis.from_url(
        _redis_url(url),
        socket_connect_timeout=settings.connect_timeout,
        socket_timeout=10 * settings.connect_timeout,
        health_check_interval=30,
    )


def _redis_url(url: str) -> str:
    if not url.startswith("redis+socket://"):
        return url
    parts = urlsplit(url)
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0].strip("/") or "0"
    return f"unix://{parts.path}?db={database}"


def redact(url: str) -> str:
    """The URL without its password, for messages and logs.

    Example:
        >>> redact("redis://:secret@localhost:6379/0")
        'redis://***@localhost:6379/0'
    """
    scheme, _, rest = url.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if "@" in rest else url


@contextmanager
def broker_errors(url: str) -> Iterator[None]:
    """Turn Redis's own errors into one that says what to do.

    Raises:
        BrokerUnavailable: If Redis can't be reached, refuses, or is out of memory.
    """
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise BrokerUnavailable(
            f"Redis at {redact(url)} does not answer ({error}): is it running, and is HEADRACE_REDIS_URL right?"
        ) from error
