"""The broker and the plugins that a command works with."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import BrokerUnavailable, ConfigError

if TYPE_CHECKING:
    from headrace.broker.registry import Registry
    from headrace.plugins.discovery import Catalog
    from headrace.settings import Settings


@contextmanager
def open_broker(settings: "Settings") -> Iterator[str]:
    """The URL of a broker that answers; without HEADRACE_REDIS_URL, one that comes along.

    Raises:
        BrokerUnavailable: If none answers.
    """
    from headrace.broker.connection import ping
    from headrace.broker.embedded import EmbeddedBroker

    if settings.redis_url:
        ping(settings.redis_url, settings)
        yield settings.redis_url
        return
    with EmbeddedBroker(settings.state_dir, bundled=settings.broker == "bundled") as url:
        yield url


def running_broker(settings: "Settings") -> str:
    """The URL of a broker that is up, without starting one.

    Raises:
        BrokerUnavailable: If there is none.
    """
    from headrace.broker.connection import ping
    from headrace.broker.embedded import running_url

    url = settings.redis_url or running_url(settings.state_dir, bundled=settings.broker == "bundled")
    if url is None:
        raise BrokerUnavailable(
            f"none runs in {settings.state_dir}: start one with `headrace up`, or set HEADRACE_REDIS_URL"
        )
    ping(url, settings)
    return url


@contextmanager
def registry_of(url: str, settings: "Settings") -> "Iterator[Registry]":
    """The registry in a broker; what Redis raises in the block becomes BrokerUnavailable."""
    from headrace.broker.connection import broker_errors, connect
    from headrace.broker.registry import Registry

    with broker_errors(url), closing(connect(url, settings)) as redis:
        yield Registry(redis)


def check_models(catalog: "Catalog", names: Sequence[str]) -> None:
    """Refuse models that no plugin of this machine serves.

    Raises:
        UnknownModel: If there is no plugin of a name.
        ConfigError: If there is no plugin at all.
    """
    for name in names:
        catalog.get(name)
    if not catalog.plugins:
        why = "".join(f"; {problem}" for problem in catalog.problems)
        raise ConfigError(f"no plugin was found, so there is nothing to serve: see `headrace doctor`{why}")


def log_file(settings: "Settings", name: str) -> Path:
    """A log's place in the state folder, which is made."""
    folder = settings.state_dir / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot make {folder} ({error.strerror}): set HEADRACE_STATE_DIR") from error
    return folder / name
