"""Flower's child process: its command line, its environment, and what it may be exposed to."""

import errno
import os
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address

from headrace.broker.app import INFER
from headrace.broker.options import SUFFIXES
from headrace.errors import ConfigError
from headrace.settings import child_environment

#: Tasks that Flower keeps in memory, about 4 kB each; its own default is 100,000.
_MOST_TASKS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowerOptions:
    """Where Flower listens, and what it asks for."""

    #: Redis.
    broker: str
    address: str = "127.0.0.1"
    port: int = 5555
    #: `user:password`, or empty for none.
    basic_auth: str = ""

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"

    def check(self) -> None:
        """Refuse what is unsafe or cannot work.

        Raises:
            ConfigError: If Flower is not installed, would be open to others without a
                password, or the password is no `user:password`.
        """
        if find_spec("flower") is None:
            raise ConfigError("Flower is not installed: `pip install 'headrace[flower]'`")
        if self.basic_auth and not all(":" in pair.strip(":") for pair in self.basic_auth.split(",")):
            raise ConfigError("--basic-auth must be USER:PASSWORD (the password without commas)")
        # Security: whoever reaches Flower reads inputs and results and can stop workers.
        if not self.basic_auth and not is_loopback(self.address):
            raise ConfigError(
                f"Flower on {self.address or 'every address'} would be open to others:"
                " set HEADRACE_FLOWER_BASIC_AUTH to user:password, or listen on 127.0.0.1"
            )


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("")
        (True, True, False, False)
    """
    if address == "localhost":
        return True
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def usable_port(address: str, port: int) -> int:
    """The port, or a free one for 0.

    Raises:
        ConfigError: If it can't be listened on.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            hint = "choose another --port" if error.errno == errno.EADDRINUSE else "check --address and --port"
            raise ConfigError(f"Flower cannot listen on {address}:{port} ({error.strerror}): {hint}") from None
        return int(probe.getsockname()[1])


def all_lists(queues: Iterable[str]) -> list[str]:
    """The lists in Redis behind queues as Celery names them: a model's queue has one for each priority.

    Example:
        >>> all_lists(["celery", "infer.m"])
        ['celery', 'infer.m.high', 'infer.m', 'infer.m.low']
    """
    suffixes = {queue: SUFFIXES.values() if queue.startswith(INFER) else [""] for queue in sorted(queues)}
    return [queue + suffix for queue in suffixes for suffix in suffixes[queue]]


def flower_command() -> list[str]:
    """The child's command line, without secrets: others can see it."""
    return [sys.executable, "-P", "-m", "headrace.monitoring.flower_server", "--parent", str(os.getpid())]


def flower_environment(options: FlowerOptions) -> dict[str, str]:
    """The child's environment. Flower's own variables (FLOWER_MAX_TASKS ...) are kept."""
    environment = child_environment(
        HEADRACE_REDIS_URL=options.broker,
        FLOWER_ADDRESS=options.address,
        FLOWER_PORT=str(options.port),
        FLOWER_BASIC_AUTH=options.basic_auth,
        FLOWER_UNAUTHENTICATED_API="false" if options.basic_auth else "true",
        # Its file would keep inputs and results beyond their time, as a pickle.
        FLOWER_PERSISTENT="false",
    )
    return {"FLOWER_MAX_TASKS": str(_MOST_TASKS)} | environment
