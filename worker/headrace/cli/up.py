"""`headrace up`: broker, workers and Flower of this machine."""

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.arguments import BasicAuth, Devices, Models, Port, parse_names

if TYPE_CHECKING:
    from headrace.broker.registry import Registry
    from headrace.cli.flower import FlowerChild
    from headrace.launcher import Launcher
    from headrace.monitoring.flower import FlowerOptions

_LOOK_SECONDS = 0.3


def up(
    *,
    devices: Devices = "auto",
    models: Models = "",
    port: Port = 5555,
    basic_auth: BasicAuth = "",
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Go without Flower.")] = False,
) -> None:
    """Run broker, workers and Flower here.

    Ctrl-C lets running batches finish; a second one hurries, as SIGQUIT does at once.
    """
    from headrace.broker.access import open_broker
    from headrace.broker.connection import redact
    from headrace.cli.flower import warn_if_open
    from headrace.cli.serving import drain, ending, name_prefix
    from headrace.cli.session import check_models, note_unknown_variables, registry_of
    from headrace.cli.signals import collected_signals
    from headrace.launcher import Launcher, log_file, parse_devices
    from headrace.plugins.discovery import discover
    from headrace.settings import get_settings

    settings, names, found = get_settings(), parse_names(models), parse_devices(devices)
    check_models(discover(settings.plugin_path), names)
    note_unknown_variables()
    options = None if no_flower else _flower_options(port, basic_auth)
    if options:
        warn_if_open(options)
    with ExitStack() as stack:
        signals = stack.enter_context(collected_signals())
        url = stack.enter_context(open_broker(settings))
        log = log_file(settings, "up.log")
        typer.echo(f"broker   {redact(url)}")
        typer.echo(f"log      {log}")
        launcher = stack.enter_context(
            Launcher(url, found, models=names, prefix=name_prefix(url, found, settings), log_file=log)
        )
        flower = stack.enter_context(_flower(options, url, log.with_name("flower.log")))
        registry = stack.enter_context(registry_of(url, settings))
        board = Board(launcher, registry, flower)
        while not signals.wait(_LOOK_SECONDS):
            board.look()
        typer.echo(ending(signals, again="Ctrl-C again"))
        drain(launcher, signals)


class Board:
    """Tells of workers and Flower as they come up, and looks after Flower."""

    def __init__(self, launcher: "Launcher", registry: "Registry", flower: "FlowerChild | None") -> None:
        self._registry = registry
        self._awaited = {worker.name for worker in launcher.workers}
        self._flower = flower
        self._shown = flower is None

    def look(self) -> None:
        """Look once."""
        import redis

        if self._flower:
            self._look_at(self._flower)
        # Redis may be away for a while: the workers wait for it too.
        with contextlib.suppress(redis.RedisError):
            self._look_for_workers()

    def _look_at(self, flower: "FlowerChild") -> None:
        flower.look()
        if not self._shown and flower.answers():
            self._shown = True
            typer.echo(f"flower   {flower.url}")

    def _look_for_workers(self) -> None:
        if not self._awaited:
            return
        for record in self._registry.workers():
            if record.name in self._awaited:
                self._awaited.remove(record.name)
                typer.echo(f"worker   {record.name} on {record.device} serves {', '.join(record.models)}")


def _flower_options(port: int, basic_auth: str) -> "FlowerOptions | None":
    from importlib.util import find_spec

    from headrace.cli.flower import checked_options
    from headrace.cli.output import note

    if find_spec("flower") is None:
        note("going without Flower, which is not installed: `pip install 'headrace[flower]'`")
        return None
    return checked_options("", address="127.0.0.1", port=port, basic_auth=basic_auth)


@contextlib.contextmanager
def _flower(options: "FlowerOptions | None", url: str, log: Path) -> "Iterator[FlowerChild | None]":
    from dataclasses import replace

    from headrace.cli.flower import flower_child

    if options is None:
        yield None
        return
    with flower_child(replace(options, broker=url), log) as child:
        yield child
