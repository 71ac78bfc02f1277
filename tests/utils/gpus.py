"""GPUs that are not there: a stand-in for NVML's library, and the file that tells what it shows."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

_SOURCE = Path(__file__).parent / "nvml" / "stand_in.c"
_LIBRARY = "libnvidia-ml.so.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One line of the file."""

    uuid: str
    name: str = "Stand-In-H100"
    capability: tuple[int, int] = (9, 0)
    #: Bytes; a total of 0 is a GPU that is lost.
    total: int = 84 * 2**30
    free: int = 80 * 2**30
    utilisation: int = 50
    #: A process that uses it, and its bytes.
    pid: int = 0
    pid_bytes: int = 0

    @property
    def line(self) -> str:
        """As the library reads it."""
        major, minor = self.capability
        sizes = f"{self.total} {self.free} {self.utilisation} {self.pid} {self.pid_bytes}"
        return f"{self.uuid} {self.name} {major} {minor} {sizes}\n"


class StandIn:
    """The library, and what it shows now."""

    def __init__(self, folder: Path, gpus: Sequence[Gpu]) -> None:
        self._folder = folder
        self._file = folder / "gpus"
        self.gpus = list(gpus)
        self._write()
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("NVML's stand-in needs a C compiler")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(folder / _LIBRARY), str(_SOURCE)], check=True)

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to see these GPUs: a library's path is read as a process starts."""
        return {**os.environ, "LD_LIBRARY_PATH": str(self._folder), "NVML_STAND_IN": str(self._file)}

    def change(self, index: int, **fields: object) -> None:
        """Have a GPU show something else from now on."""
        self.gpus[index] = replace(self.gpus[index], **fields)  # type: ignore[arg-type]
        self._write()

    def lose(self, index: int) -> None:
        """Have a GPU drop out of the driver's list: those behind it have other numbers then."""
        del self.gpus[index]
        self._write()

    def unload(self) -> None:
        """Have the driver fail from now on."""
        self._file.unlink()

    def _write(self) -> None:
        # Hazard: a reader must see a whole file.
        fresh = self._file.with_suffix(".new")
        fresh.write_text("".join(gpu.line for gpu in self.gpus))
        fresh.replace(self._file)
