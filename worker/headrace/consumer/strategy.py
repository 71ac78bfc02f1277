"""Strategy: Celery's own way of taking a message, fenced so that no message ends the worker."""

import logging
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery
from celery.worker.strategy import default

from headrace.errors import InvalidInput, describe

logger = logging.getLogger(__name__)


def fenced(task: Any, app: Celery, consumer: Any, **options: Any) -> Callable[..., None]:
    """Celery's default strategy; what it raises about a message fails that message alone.

    Hazard: an exception that left here would end the worker, put the message back, and so end
    the next worker too.
    """
    take = default(task, app, consumer, **options)

    def take_or_refuse(message: Any, *args: Any, **kwargs: Any) -> None:
        try:
            take(message, *args, **kwargs)
        except (*consumer.connection_errors, redis.RedisError):
            # Nothing is wrong with the message: the transport delivers it again.
            raise
        except Exception as error:
            logger.exception("a message of %s cannot be read", task.name)
            if not isinstance(message.headers.get("id"), str):
                message.reject_log_error(logger, consumer.connection_errors)
                return
            told = f"the message cannot be read ({describe(error)}): send it by Celery's protocol 2"
            app.headrace_settler.refuse(message, app.backend, InvalidInput(told))

    return take_or_refuse
