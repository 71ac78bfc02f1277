"""The one Celery app that client and worker share."""

from typing import Any

from celery import Celery

from headrace.broker.connection import redact, secured
from headrace.errors import ConfigError
from headrace.settings import Settings

#: Prefix of the names of tasks and of their queues.
INFER = "infer."
#: Prefix of the lists of messages that were put aside, and of the hashes that tell why.
DEAD, WHY_DEAD = "dead.", "headrace:dead:"


def make_app(url: str, settings: Settings) -> Celery:
    """Build an app for a Redis URL.

    Args:
        url: `redis://`, `rediss://` or `redis+socket:///path?virtual_host=N`.
        settings: Expiry of results and connection time-outs.

    Raises:
        ConfigError: If the URL has another scheme.
    """
    app = Celery("headrace", set_as_current=False)
    url = secured(url)
    app.conf.update(
        broker_url=url,
        result_backend=_backend_url(url),
        broker_connection_retry_on_startup=True,
        # A Redis that refuses (it is full, say) is waited for like one that is away.
        broker_channel_error_retry=True,
        broker_transport_options=_transport_options(settings),
        result_backend_transport_options={
            "socket_connect_timeout": settings.connect_timeout,
            "global_keyprefix": settings.key_prefix,
        },
        redis_socket_connect_timeout=settings.connect_timeout,
        redis_socket_timeout=settings.connect_timeout,
        result_expires=settings.result_expires,
        # Security: no pickle on either side, whatever a producer sends.
        accept_content=["json"],
        result_accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_acks_late=True,
        task_routes=(_route,),
        # 0 leaves credit to our lanes: they count items, Celery would count messages.
        worker_prefetch_multiplier=0,
        worker_consumer="headrace.consumer.strategy:JobConsumer",
        worker_send_task_events=True,
        worker_soft_shutdown_timeout=settings.worker_soft_shutdown_timeout,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
    )
    return app


def _route(name: str, *_args: Any, **_kwargs: Any) -> dict[str, str] | None:
    return {"queue": name} if name.startswith(INFER) else None


def _transport_options(settings: Settings) -> dict[str, Any]:
    return {
        "socket_connect_timeout": settings.connect_timeout,
        "socket_timeout": settings.connect_timeout,
        "socket_keepalive": True,
        "global_keyprefix": settings.key_prefix,
    }


def _backend_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    known = {"redis": "redis", "rediss": "rediss", "redis+socket": "socket"}
    if scheme not in known:
        raise ConfigError(
            f"{redact(url)!r} is no Redis URL: use redis://, rediss:// or redis+socket:///path?virtual_host=0"
        )
    return f"headrace.broker.results.ResultBackend+{known[scheme]}://{rest}"
