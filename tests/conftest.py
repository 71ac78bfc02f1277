"""What holds for every test."""

import pytest

from headrace.hardware.analyzer import get_hardware_analyzer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by folder, and skip what this machine cannot run."""
    no_gpu = pytest.mark.skip(reason="needs an NVIDIA GPU")
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker("integration")
        if "gpu" in item.keywords and not get_hardware_analyzer().gpus():
            item.add_marker(no_gpu)
