"""Catalog: a model is found, or refused with what may have been meant."""

from pathlib import Path

import pytest

from headrace.errors import ManifestError, UnknownModel
from headrace.plugins.catalog import Catalog, FoundPlugin, unknown_model_message
from headrace.sdk.manifest import PluginManifest
from tests.utils.plugins import manifest


@pytest.fixture
def catalog() -> Catalog:
    found = FoundPlugin(manifest=PluginManifest(**manifest("mill")), folder=Path("/mill"), root=None)
    return Catalog(plugins={"mill": found}, problems=[ManifestError("/weir/plugin_manifest.json: no JSON")])


def test_a_model_is_found_by_its_name(catalog: Catalog) -> None:
    assert catalog.get("mill").folder == Path("/mill")


def test_an_unknown_one_is_refused_with_the_manifests_that_were_left_out(catalog: Catalog) -> None:
    with pytest.raises(UnknownModel, match=r"did you mean 'mill'.*left out: /weir/plugin_manifest\.json: no JSON"):
        catalog.get("mil")


def test_a_message_says_when_there_is_no_model_at_all() -> None:
    assert unknown_model_message("mill", []) == "unknown model 'mill'. Known models: none"
