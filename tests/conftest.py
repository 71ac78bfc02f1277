"""What holds for every test."""

import pytest

from headrace.hardware.probes import gpu_count


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by folder, and skip what this machine cannot run."""
    no_gpu = pytest.mark.skip(reason="needs an NVIDIA GPU")
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker("integration")
        if "gpu" in item.keywords and not gpu_count():
            item.add_marker(no_gpu)
