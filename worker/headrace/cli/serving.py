"""How long-running commands end."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.cli.signals import Signals
    from headrace.launcher import Launcher

_LOOK_SECONDS = 0.1


def drain(launcher: "Launcher", signals: "Signals") -> None:
    """End the workers in order, or at once when another signal comes."""
    launcher.stop()
    while not launcher.join(0):
        if signals.wait(_LOOK_SECONDS):
            launcher.hurry()
