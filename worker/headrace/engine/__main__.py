"""`python -m headrace.engine`: the entry point of an engine process."""

import argparse
import faulthandler
import json
import logging
import signal
import socket
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from headrace.attention import load_attention
from headrace.engine.forecast import forecast
from headrace.engine.placing import Placing
from headrace.engine.residency import Residency
from headrace.engine.server import EngineServer
from headrace.errors import HeadraceError
from headrace.hardware.analyzer import HardwareAnalyzer, get_hardware_analyzer
from headrace.hardware.meter import MemoryMeter
from headrace.lifetime import end_with_parent
from headrace.memory.store import CostStore
from headrace.plugins.discovery import discover
from headrace.plugins.factory import PluginFactory
from headrace.plugins.manager import PluginManager, open_plugin_manager
from headrace.sdk.device import Device
from headrace.settings import get_settings


def main() -> None:
    """Serve the socket that the worker passed down until it closes; or forecast, and end."""
    arguments = _arguments()
    faulthandler.enable()
    # The closed socket says the same, but a plugin that holds the interpreter's lock in
    # native code keeps the receiving thread from seeing it.
    end_with_parent(arguments.parent, signal.SIGKILL)
    logging.basicConfig(
        level=logging.INFO, format=f"[%(asctime)s: %(levelname)s/engine {arguments.device}] %(message)s"
    )
    device = Device.parse(arguments.device)
    settings = get_settings()
    analyzer = get_hardware_analyzer()
    # The engine's one GPU is its first, whatever number the worker knows it by.
    own = Device(device.kind)
    manager = open_plugin_manager(
        catalog=discover(settings.plugin_path),
        factory=PluginFactory(settings.models),
        device=device,
        attention=lambda dtype, need: load_attention(analyzer.profile(own), dtype, need),
    )
    meter = analyzer.meter(own, settings.gpu_memory_utilization)
    store, placing = CostStore(settings.costs_dir), Placing(settings.state_dir / "offload")
    placing.sweep()
    with _enforced(analyzer):
        if arguments.forecast:
            _tell_forecast(arguments.forecast, Residency(manager, meter, store, placing=placing), manager, meter)
            return
        with socket.socket(fileno=arguments.fd) as connection:
            EngineServer(connection, manager, meter, store, placing).serve()


def _tell_forecast(model: str, residency: Residency, manager: PluginManager, meter: MemoryMeter) -> None:
    """Print what `headrace plan` asks for: one JSON object, an error's if there is one."""
    try:
        told = forecast(model, manager.version(model), residency, meter).to_wire()
    except HeadraceError as error:
        told = {"error": error.to_wire()}
    finally:
        residency.close()
    sys.stdout.write(json.dumps(told) + "\n")


def _enforced(analyzer: HardwareAnalyzer) -> AbstractContextManager[Any]:
    """Where there is a virtual device, its budget."""
    return analyzer.virtual.enforce() if analyzer.virtual else nullcontext()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m headrace.engine")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--fd", type=int)
    task.add_argument("--forecast", metavar="MODEL")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--device", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
