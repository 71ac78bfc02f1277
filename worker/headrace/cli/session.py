"""The registry and the plugins that a command works with."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.broker.connection import Server
    from headrace.broker.registry import Registry
    from headrace.plugins.discovery import Catalog
    from headrace.plugins.models import KnownModels
    from headrace.settings import Settings


@contextmanager
def broker_of(url: str, settings: "Settings") -> "Iterator[Server]":
    """A connection to a broker; what Redis raises in the block becomes BrokerUnavailable."""
    from headrace.broker.connection import broker_errors, connect

    with broker_errors(url), closing(connect(url, settings)) as client:
        yield client


@contextmanager
def registry_of(url: str, settings: "Settings") -> "Iterator[Registry]":
    """The registry in a broker."""
    from headrace.broker.registry import Registry

    with broker_of(url, settings) as client:
        yield Registry(client)


def known_models(client: "Server", settings: "Settings") -> "KnownModels":
    """The models that workers have published, and those of this machine."""
    from headrace.broker.registry import Registry
    from headrace.plugins.discovery import discover
    from headrace.plugins.models import KnownModels

    return KnownModels(Registry(client).models, lambda: discover(settings.plugin_path))


def note_unknown_variables() -> None:
    """Tell of variables that look like settings and are none: one that is misspelt changes nothing."""
    from headrace.cli.output import note
    from headrace.settings import unknown_variables

    for name, meant in unknown_variables().items():
        note(f"{name} is set, and no setting has this name{f': did you mean {meant}?' if meant else ''}")


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
