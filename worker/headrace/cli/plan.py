"""`headrace plan`: what would be chosen for a model in a device's memory, and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.errors import ConfigError, SetupFailed, error_from_wire

if TYPE_CHECKING:
    from headrace.sdk.device import Device
    from headrace.settings import Settings

_COLUMNS = ("size of an item", "items in a batch", "MiB at most", "items/s", "limited by")
#: Seconds beyond the limit of a load in which its child measures batches and ends.
_MARGIN = 60.0
#: Bytes of the largest device that is not there: an EiB.
_LARGEST = 2**60


def plan(
    model: Annotated[str, typer.Argument(help="Name of the model; `headrace models` lists them.")],
    *,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda:0.")] = "auto",
    memory: Annotated[
        str,
        typer.Option("--memory", metavar="SIZE", help="Of a device that is not there: 8GiB. Default: the device's."),
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what would be chosen for a model: weights, paging, batch sizes.

    Loads it as its first job would, and runs a few made-up batches. With --memory, tensors are counted and none
    beyond that size is made.
    """
    from headrace.cli.output import print_json, print_table
    from headrace.cli.session import check_models
    from headrace.launcher import parse_devices
    from headrace.plugins.discovery import discover
    from headrace.settings import get_settings

    settings, devices = get_settings(), parse_devices(device)
    if len(devices) > 1 and device != "auto":
        raise ConfigError(f"--device {device} names {len(devices)}: plan for one at a time")
    size = _size(memory)
    check_models(discover(settings.plugin_path), [model])
    told = _forecast(model, devices[0], size, settings)
    if json:
        print_json(told)
        return
    for line in _lines(told):
        typer.echo(line)
    if told["batches"]:
        print_table(_COLUMNS, [_row(batch) for batch in told["batches"]])


def _size(text: str) -> int | None:
    """Read `64MiB`; None for an empty text.

    Raises:
        ConfigError: If it is no size.

    Example:
        >>> _size("64MiB"), _size("")
        (67108864, None)
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    if not text:
        return None
    try:
        size = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        size = 0
    if not 0 < size <= _LARGEST:
        raise ConfigError(f"--memory {text!r} is no size: write 8GiB or 64MiB")
    return size


def _forecast(model: str, device: "Device", memory: int | None, settings: "Settings") -> dict[str, Any]:
    """Ask a child: it imports torch, and holds the device for so long only.

    Raises:
        HeadraceError: What the model's first job would fail with.
    """
    import os
    import subprocess
    import sys

    from headrace.engine.process import DEFAULTS, describe_exit
    from headrace.hardware.analyzer import get_hardware_analyzer
    from headrace.settings import child_environment

    chosen = {"CUDA_VISIBLE_DEVICES": get_hardware_analyzer().uuid(device)}
    if memory is not None:
        chosen["HEADRACE_VIRTUAL_MEMORY"] = str(memory)
    command = [sys.executable, "-P", "-m", "headrace.engine", "--device", device.name]
    try:
        done = subprocess.run(
            [*command, "--parent", str(os.getpid()), "--forecast", model],
            env={**DEFAULTS, **child_environment(**chosen)},
            capture_output=True,
            check=False,
            timeout=settings.load_time_limit + _MARGIN,
        )
    except subprocess.TimeoutExpired as error:
        raise SetupFailed(f"model {model} was not loaded within {error.timeout:.0f} s") from error
    told = _answer(done.stdout)
    if told is None:
        raise SetupFailed(
            f"model {model}: the engine ended ({describe_exit(done.returncode)}): {_last_line(done.stderr)}"
        )
    if "error" in told:
        raise error_from_wire(told["error"])
    return told


def _answer(said: bytes) -> dict[str, Any] | None:
    """The engine's JSON object among what plugins may print before it and after it."""
    import orjson

    for line in reversed(said.splitlines()):
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(told, dict) and ("error" in told or {"model", "batches"} <= told.keys()):
            return told
    return None


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _lines(told: dict[str, Any]) -> list[str]:
    weights = told["paged"] or f"{_mib(told['weights'])}, all on the device"
    learned = (
        f"learned from {told['samples']} batches, made-up ones or those of earlier jobs"
        if told["samples"]
        else "learned from the first jobs, in batches that grow from one item"
    )
    device = f"on a {told['device']} of {_mib(told['total'])}"
    return [
        f"{told['model']} {told['version']} {device}, of which {_mib(told['room'])} may be used",
        f"weights: {weights}; loaded in {told['load_seconds']:.1f} s",
        f"batches: {_mib(told['left'])} are left for them; what they cost is {learned}",
    ]


def _row(batch: dict[str, Any]) -> tuple[str, ...]:
    rate = f"{batch['rate']:,.0f}" if batch["rate"] else "-"
    return str(batch["size"]), str(batch["items"]), f"{batch['bytes'] / 2**20:,.1f}", rate, batch["limit"]


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
