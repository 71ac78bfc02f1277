"""A Redis of somebody else's: behind TLS, and shared with others under a prefix of our own."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
import trustme
from celery import Celery

from headrace.broker.dead import DeadLetters
from headrace.client import Client
from headrace.errors import BrokerUnavailable
from headrace.settings import get_settings
from tests.integration.cluster import Cluster, isolated_settings
from tests.utils.proxy import Proxy
from tests.utils.servers import connection, unguarded

pytestmark = pytest.mark.integration

PREFIX = "team-a:"


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """A server's socket."""
    with unguarded(tmp_path) as (url, _):
        yield Path(url.removeprefix("redis+socket://").partition("?")[0])


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


@pytest.fixture
def port(socket: Path, authority: trustme.CA) -> Iterator[int]:
    """Where the server is behind TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    proxy = Proxy(socket, context)
    yield proxy.port
    proxy.close()


def test_jobs_go_through_tls(port: int, tmp_path: Path) -> None:
    url = f"rediss://localhost:{port}/0?ssl_ca_certs={quote(str(tmp_path / 'ca.pem'), safe='/')}"
    with (
        isolated_settings(tmp_path) as settings,
        Client(url, settings=settings) as client,
        Cluster(client, tmp_path / "workers.log").workers("faulty"),
    ):
        jobs = client.submit_many("faulty", [{"text": str(each)} for each in range(20)])
        assert [job.result(timeout=20)["text"] for job in jobs] == [str(each) for each in range(20)]
        plain = Celery(broker=url, backend=f"{url}&ssl_cert_reqs=required")
        plain.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(tmp_path / "ca.pem")}
        sent = plain.send_task("infer.faulty", args=[{"text": "plain"}], queue="infer.faulty")
        assert sent.get(timeout=20)["text"] == "plain"


def test_a_certificate_of_nobody_we_know_is_refused(port: int, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with isolated_settings(tmp_path) as settings, pytest.raises(BrokerUnavailable, match="certificate"):
        Client(f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path / 'other.pem'}", settings=settings)


def test_every_key_carries_the_prefix(socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_KEY_PREFIX", PREFIX)
    url = f"redis+socket://{socket}?virtual_host=0"
    keys: set[str] = set()
    with (
        isolated_settings(tmp_path),
        Client(url, settings=get_settings()) as client,
        Cluster(client, tmp_path / "workers.log").workers("faulty"),
        connection(url) as watcher,
    ):
        assert [item.output["text"] for item in client.map("faulty", [{"text": "a"}, {"text": "b"}])] == ["a", "b"]
        assert client.submit("faulty", {"text": "c"}, idempotency_key="c").result(timeout=20)["text"] == "c"
        client.submit("faulty", {"text": "d", "do": "sleep", "seconds": 0.3})
        client.submit("faulty", {"text": "e"}, priority="low").cancel()
        watcher.lpush(f"{PREFIX}infer.faulty", "no message")
        _send_plainly(url)
        keys |= _keys(watcher)
        assert len(list(DeadLetters(client.redis).of("faulty"))) == 1
        keys |= _keys(watcher)
    assert [key for key in keys if not key.startswith(PREFIX)] == []
    assert len(keys) > 10


def _send_plainly(url: str) -> None:
    """A plain producer names the prefix by Celery's own settings."""
    app = Celery(broker=url, backend=url)
    app.conf.broker_transport_options = {"global_keyprefix": PREFIX}
    app.conf.result_backend_transport_options = {"global_keyprefix": PREFIX}
    sent = app.send_task("infer.faulty", args=[{"text": "plain"}], queue="infer.faulty", countdown=0.5)
    assert sent.get(timeout=20)["text"] == "plain"


def _keys(client: redis.Redis) -> set[str]:
    return {key.decode() for key in client.scan_iter()}
