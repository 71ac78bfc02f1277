"""`headrace flower`: the monitor in a browser."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from headrace.cli.arguments import Address, BasicAuth, Port

if TYPE_CHECKING:
    from headrace.lifetime import ManagedProcess
    from headrace.monitoring.flower import FlowerOptions

_LOOK_SECONDS = 0.3
_END_SECONDS = 5.0


class FlowerChild:
    """Flower as a child process, restarted when it dies."""

    def __init__(self, options: "FlowerOptions", process: "ManagedProcess") -> None:
        self._options = options
        self._process = process
        self.url = options.url

    def look(self) -> None:
        """Start it again if it has died."""
        self._process.look()

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            socket.create_connection((self._options.address, self._options.port), timeout=1.0).close()
        except OSError:
            return False
        return True


@contextmanager
def flower_child(options: "FlowerOptions", log_file: Path | None = None) -> Iterator[FlowerChild]:
    """Run Flower for the length of the block; its log goes to stderr without a file."""
    import signal
    import time
    from contextlib import nullcontext

    from headrace.lifetime import ManagedProcess
    from headrace.monitoring.flower import flower_command, flower_environment

    with log_file.open("wb") if log_file else nullcontext() as log:
        process = ManagedProcess("flower", flower_command(), flower_environment(options), log)
        process.start()
        try:
            yield FlowerChild(options, process)
        finally:
            process.signal(signal.SIGTERM)
            if not process.wait(time.monotonic() + _END_SECONDS):
                process.signal(signal.SIGKILL)
                process.wait(time.monotonic() + _END_SECONDS)


def checked_options(url: str, *, address: str, port: int, basic_auth: str) -> "FlowerOptions":
    """Flower's options, its port free.

    Raises:
        ConfigError: If Flower can't run so.
    """
    from dataclasses import replace

    from headrace.monitoring.flower import FlowerOptions, usable_port

    options = FlowerOptions(broker=url, address=address, port=port, basic_auth=basic_auth)
    options.check()
    return replace(options, port=usable_port(address, port))


def warn_if_open(options: "FlowerOptions") -> None:
    """Tell who may use a Flower without a password."""
    from headrace.cli.output import note

    if not options.basic_auth:
        note(
            "Flower asks for no password: every user of this machine can read jobs and results there, and revoke jobs"
            " and stop workers; set HEADRACE_FLOWER_BASIC_AUTH to user:password where you share it"
        )


def flower(*, address: Address = "127.0.0.1", port: Port = 5555, basic_auth: BasicAuth = "") -> None:
    """Show jobs, workers and queues in a browser until Ctrl-C."""
    from headrace.broker.access import open_broker
    from headrace.broker.connection import redact
    from headrace.cli.signals import collected_signals
    from headrace.settings import get_settings

    settings = get_settings()
    # Before a broker is started for nothing.
    options = checked_options("", address=address, port=port, basic_auth=basic_auth)
    with collected_signals() as signals, open_broker(settings) as url:
        from dataclasses import replace

        with flower_child(replace(options, broker=url)) as child:
            typer.echo(f"{child.url} shows {redact(url)}")
            warn_if_open(options)
            while not signals.wait(_LOOK_SECONDS):
                child.look()
