"""Has the worker's event loop watch an engine: what it says, and when it takes more of what it is sent."""

from typing import Any

from headrace.engine.process import EngineProcess
from headrace.engine.supervisor import EngineSupervisor


def watch(hub: Any, engine: EngineProcess, supervisor: EngineSupervisor) -> None:
    """Have the loop read what the engine says, and send on what it has not taken.

    Args:
        hub: kombu's loop, which has lost all that it watched if the connection was lost.
        engine: The one that runs.
        supervisor: Whose engine it is.
    """
    hub.add_reader(engine.fileno(), supervisor.on_readable)
    if engine.unsent:
        watch_room(hub, engine, supervisor)


def watch_room(hub: Any, engine: EngineProcess, supervisor: EngineSupervisor) -> None:
    """Have the loop send on whenever the engine takes more, until it has it all."""
    descriptor = engine.outlet()

    def send_on() -> None:
        supervisor.on_writable()
        # Hazard: the engine may turn out to be dead, and its descriptor be another's already.
        if descriptor in hub.writers and not engine.unsent:
            hub.remove(descriptor)

    if descriptor not in hub.writers:
        hub.add_writer(descriptor, send_on)


def unwatch(hub: Any, engine: EngineProcess) -> None:
    """Stop watching, before the descriptors can be used again."""
    hub.remove(engine.fileno())
    hub.remove(engine.outlet())
