"""Children that are a few lines of Python where an engine would be."""

import os
import sys
from pathlib import Path

from headrace.engine.process import EngineProcess

_BEGIN = """
import os, signal, socket, sys, time
engine = socket.socket(fileno=int(sys.argv[1]))
"""


class Script(EngineProcess):
    """An engine process that runs a script."""

    def __init__(self, script: str, environment: dict[str, str] | None = None, costs: Path | None = None) -> None:
        super().__init__("cpu:0", environment or dict(os.environ), costs=costs)
        self._script = script

    def _command(self, fd: int) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", _BEGIN + self._script, str(fd)]


def start(script: str, started: list[EngineProcess]) -> Script:
    """Start one, and note it among those that the test ends."""
    process = Script(script)
    process.start()
    started.append(process)
    return process
