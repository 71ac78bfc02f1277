"""The broker that a command works with: the given one, or one that comes along."""

from collections.abc import Iterator
from contextlib import contextmanager

from headrace.broker.connection import check_writable, ping
from headrace.broker.embedded import EmbeddedBroker, running_url
from headrace.errors import BrokerUnavailable
from headrace.settings import Settings


@contextmanager
def open_broker(settings: Settings) -> Iterator[str]:
    """The URL of a broker that answers; without HEADRACE_REDIS_URL, one that comes along.

    Raises:
        BrokerUnavailable: If none answers, or it takes nothing.
    """
    if settings.redis_url:
        check_writable(settings.redis_url, settings)
        yield settings.redis_url
        return
    with EmbeddedBroker(settings.state_dir, bundled=settings.broker == "bundled") as url:
        check_writable(url, settings)
        yield url


@contextmanager
def joined_broker(settings: Settings) -> Iterator[str]:
    """The URL of the given broker, or of one that came along and runs, which stays up meanwhile.

    Raises:
        BrokerUnavailable: If none is given, and none runs.
    """
    if settings.redis_url:
        yield settings.redis_url
        return
    with EmbeddedBroker(settings.state_dir, bundled=settings.broker == "bundled", start_server=False) as url:
        yield url


def running_broker(settings: Settings) -> str:
    """The URL of a broker that is up, without starting one.

    Raises:
        BrokerUnavailable: If there is none.
    """
    url = settings.redis_url or running_url(settings.state_dir, bundled=settings.broker == "bundled")
    if url is None:
        raise BrokerUnavailable(
            f"none runs in {settings.state_dir}: start one with `headrace up`, or set HEADRACE_REDIS_URL"
        )
    ping(url, settings)
    return url
