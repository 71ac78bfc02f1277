"""The Celery app: our queues, our result backend, and nothing but JSON."""

import ssl

import pytest
import redis
from celery import Celery, current_app
from kombu import serialization
from kombu.exceptions import ContentDisallowed

from headrace.broker.app import make_app
from headrace.broker.results import ResultBackend
from headrace.errors import ConfigError
from headrace.settings import Settings


def test_a_models_task_goes_to_the_queue_of_its_name(app: Celery, client: redis.Redis) -> None:
    app.send_task("infer.mill", args=[1])
    app.send_task("sweep.mill", args=[1])
    assert client.llen("infer.mill") == client.llen("celery") == 1
    assert not client.exists("sweep.mill")


def test_a_celery_producer_may_still_name_the_queue(app: Celery, client: redis.Redis) -> None:
    app.send_task("infer.mill", args=[1], queue="infer.other")
    assert (client.llen("infer.mill"), client.llen("infer.other")) == (0, 1)


@pytest.mark.parametrize("url", ["redis://host:6379/1", "redis+socket:///run/redis.sock?virtual_host=1"])
def test_results_go_where_the_jobs_come_from(url: str, settings: Settings) -> None:
    app = make_app(url, settings)
    parameters = app.backend.connparams
    assert isinstance(app.backend, ResultBackend)
    assert int(parameters["db"]) == 1
    assert (parameters.get("host"), parameters.get("path")) in {("host", None), (None, "/run/redis.sock")}
    assert app.conf.broker_url == url
    app.close()


@pytest.mark.parametrize("url", ["amqp://:secret@host", "unix:///run/redis.sock", "host:6379", ""])
def test_a_url_of_another_kind_is_refused_without_its_password(url: str, settings: Settings) -> None:
    with pytest.raises(ConfigError, match="use redis://") as caught:
        make_app(url, settings)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("setting", ["accept_content", "result_accept_content"])
def test_a_pickled_message_is_refused(app: Celery, setting: str) -> None:
    accept = serialization.prepare_accept_content(app.conf[setting])  # type: ignore[no-untyped-call]  # kombu has few types
    with pytest.raises(ContentDisallowed):
        serialization.loads(b"", "application/x-python-serialize", "binary", accept=accept)  # type: ignore[no-untyped-call]


def test_settings_reach_celery(url: str, settings: Settings) -> None:
    app = make_app(url, settings.model_copy(update={"result_expires": 60, "connect_timeout": 1.5}))
    assert app.backend.expires == 60
    assert app.backend.connparams.get("socket_connect_timeout", 1.5) == 1.5
    assert app.conf.broker_transport_options["socket_connect_timeout"] == 1.5
    app.close()


def test_an_app_does_not_become_the_programs_own(app: Celery) -> None:
    assert current_app.main != "headrace"


def test_a_rediss_url_checks_certificates_on_both_sides() -> None:
    app = make_app("rediss://h:1/0", Settings())
    assert app.connection_for_write().ssl["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert app.backend.connparams["ssl_cert_reqs"] == ssl.CERT_REQUIRED


def test_sending_a_job_subscribes_to_nothing(app: Celery, client: redis.Redis) -> None:
    app.send_task("infer.mill", args=["a"])
    assert client.pubsub_channels() == []
