"""MiniLM through a real broker, a real worker and its engine."""

from pathlib import Path

import numpy as np

from headrace.broker.embedded import EmbeddedBroker
from headrace.client import Client
from headrace.errors import InvalidInput
from tests.integration.cluster import Cluster, isolated_settings
from tests.models.minilm.conftest import Embed
from tests.utils.vectors import assert_cosine, assert_unit_length
from tests.utils.waiting import wait_until


def _note(client: Client) -> str:
    return "".join(worker.served["minilm"]["note"] for worker in client.registry.workers() if "minilm" in worker.served)


def test_vectors_through_the_queue_are_those_of_plain_transformers(
    tmp_path: Path, sample: list[str], reference: Embed
) -> None:
    expected = reference(sample)
    with (
        isolated_settings(tmp_path) as settings,
        EmbeddedBroker(settings.state_dir, bundled=True) as url,
        Client(url, settings=settings) as client,
        Cluster(client, tmp_path / "workers.log").workers("minilm"),
    ):
        inputs = [*({"text": text} for text in sample), {"text": 1}]
        *good, bad = list(client.map("minilm", inputs, chunk_size=8))
        single = client.submit("minilm", {"text": sample[0]}).result(timeout=60)
        # What `headrace models` shows.
        wait_until(lambda: _note(client).startswith("attention per_sequence (torch's own: "))
    assert [item.error for item in good] == [None] * len(sample)
    assert isinstance(bad.error, InvalidInput)
    vectors = np.stack([item.output for item in good])
    assert vectors.shape == (len(sample), 384)
    assert_unit_length(vectors)
    assert_cosine(vectors, expected, at_least=0.999)
    assert_cosine([single], expected[:1], at_least=0.999)
