"""Looking at processes, and starting users of an embedded broker."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_ROOT = Path(__file__).resolve().parents[2]
_USER = """
import sys
from contextlib import suppress
from pathlib import Path
from headrace.broker.embedded import EmbeddedBroker

with EmbeddedBroker(Path(sys.argv[1]), bundled=sys.argv[2] == "bundled") as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def parent_of(pid: int) -> int:
    """The process id of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid: int) -> list[int]:
    """The process ids of a process's running children."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end between the listing and the look.
        with suppress(FileNotFoundError):
            found += (int(child) for child in (task / "children").read_text().split())
    return [child for child in found if is_alive(child)]


class BrokerUser:
    """Another process that uses the embedded broker of a folder until it is told to end."""

    def __init__(self, state_dir: Path, *, bundled: bool = True, path: str | None = None) -> None:
        environment = {**os.environ, "PYTHONPATH": str(_ROOT / "worker"), "PATH": path or os.environ["PATH"]}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _USER, str(state_dir), "bundled" if bundled else "auto"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        """Wait for the broker's URL; empty if the process failed."""
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def leave(self) -> int:
        """End it in order and return its exit status."""
        self._process.communicate(timeout=30)
        return self._process.returncode

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
