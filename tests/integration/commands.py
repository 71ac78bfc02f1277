"""The command line in processes of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from headrace.settings import Settings

HEADRACE = (sys.executable, "-m", "headrace")


def headrace(
    *arguments: object, stdin: str | None = None, stdout: IO[bytes] | int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    command = [*HEADRACE, *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )


def processes_of(settings: Settings) -> list[int]:
    """Every process that was started with the test's state folder."""
    needle = f"HEADRACE_STATE_DIR={settings.state_dir}".encode()
    return [int(each.name) for each in Path("/proc").glob("[0-9]*") if needle in _environment_of(each)]


def _environment_of(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [*HEADRACE, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
