"""Credit: which messages the worker claims, and what becomes of them when its connection is lost."""

import logging
from typing import Any

import redis
from celery import bootsteps
from celery.worker.consumer.tasks import Tasks

logger = logging.getLogger(__name__)


class Credit(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """After a reconnect, gives back the claims that nothing in this worker holds any more."""

    requires = (Tasks,)

    def start(self, consumer: Any) -> None:
        """Compare the claims with what the engine has: Celery has dropped everything else."""
        try:
            consumer.app.headrace_claims.keep_only(consumer.pool.open.tags)
        except redis.ResponseError as error:
            logger.warning("claims cannot be given back now, so a new lease is begun: %s", error)
            consumer.app.headrace_claims.lost = True
