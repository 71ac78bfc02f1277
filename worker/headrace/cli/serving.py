"""How long-running commands end."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.cli.signals import Signals
    from headrace.launcher import Launcher
    from headrace.sdk.device import Device
    from headrace.settings import Settings

_LOOK_SECONDS = 0.1


def name_prefix(url: str, devices: "Sequence[Device]", settings: "Settings") -> str:
    """What keeps the workers' names apart from those of another launcher on this host."""
    from headrace.broker.connection import broker_errors
    from headrace.cli.session import registry_of
    from headrace.launcher import worker_name

    with broker_errors(url), registry_of(url, settings) as registry:
        taken = {worker.name for worker in registry.workers()}
    wanted = {worker_name(device) for device in devices}
    return "" if taken.isdisjoint(wanted) else f"{os.getpid()}-"


def ending(signals: "Signals", *, again: str) -> str:
    """What is told as the workers are ended; `again` is what hurries."""
    if signals.cold:
        return "ending now: what runs goes back to its queue"
    return f"ending when the running batches are done; {again} hurries"


def drain(launcher: "Launcher", signals: "Signals") -> None:
    """End the workers in order; at once after SIGQUIT, or when another signal comes."""
    if signals.cold:
        launcher.hurry()
    launcher.stop()
    while not launcher.join(0):
        if signals.wait(_LOOK_SECONDS):
            launcher.hurry()
