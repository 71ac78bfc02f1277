"""`headrace health`: for a container's health check."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.broker.registry import WorkerRecord

_UNHEALTHY = 1


def health(
    *,
    worker: Annotated[
        str | None, typer.Option("--worker", help="cpu0 or cpu0@host. Default: any of this host.")
    ] = None,
) -> None:
    """Exit 0 if a worker lives on this machine, else 1.

    It lives if it gave a sign of life within ten seconds.
    """
    import socket

    from headrace.errors import HeadraceError
    from headrace.monitoring.health import healthy_workers

    host = socket.gethostname()
    try:
        alive = healthy_workers(_records(), host=host, worker=worker)
    except HeadraceError as error:
        # Docker knows no exit code but 0 and 1.
        typer.echo(f"unhealthy: {error}", err=True)
        raise typer.Exit(_UNHEALTHY) from None
    if not alive:
        typer.echo(f"unhealthy: no sign of life of {worker or f'any worker of {host}'}", err=True)
        raise typer.Exit(_UNHEALTHY)
    typer.echo(f"healthy: {', '.join(alive)}")


def _records() -> "list[WorkerRecord]":
    from headrace.broker.access import running_broker
    from headrace.cli.session import registry_of
    from headrace.settings import get_settings

    settings = get_settings()
    with registry_of(running_broker(settings), settings) as registry:
        return registry.workers()
