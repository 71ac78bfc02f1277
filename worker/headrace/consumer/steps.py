"""Bootsteps: what headrace adds to Celery's worker as it starts and stops."""

import logging
from typing import Any

import redis
from celery import bootsteps
from celery.worker.components import Pool
from celery.worker.consumer.tasks import Tasks

from headrace.broker.depth import depths
from headrace.broker.registry import BEAT_SECONDS, Registry, WorkerRecord
from headrace.consumer.pool import BatchPool
from headrace.consumer.served import served_models
from headrace.hardware.analyzer import get_hardware_analyzer
from headrace.sdk.device import Device

logger = logging.getLogger(__name__)

#: Task events in one message: some 200 kB.
EVENTS_AT_ONCE = 512


class EngineInfo(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Shows device and models in `celery inspect stats` and in Flower's `/api/workers`."""

    requires = (Pool,)

    def info(self, worker: Any) -> dict[str, Any]:
        """Flat keys, since Flower's worker page shows no deeper ones."""
        pool: BatchPool = worker.pool
        profile = get_hardware_analyzer().profile(Device.parse(pool.device))
        return {
            "headrace_device": pool.device,
            "headrace_device_name": profile.name,
            "headrace_device_uuid": profile.uuid,
            "headrace_free_bytes": profile.free,
            "headrace_total_bytes": profile.total,
            "headrace_resident_models": ", ".join(pool.resident),
            "headrace_batch_limit": _batch_limits(pool),
            "headrace_engine_pid": pool.supervisor.engine_pid,
            "headrace_engine_restarts": pool.supervisor.restarts,
        }


class EventGroups(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Has task events sent in groups as large as the claims that they tell of."""

    requires = (Tasks,)

    def start(self, consumer: Any) -> None:
        """Raise Celery's limit of 24; what is buffered is sent at the loop's next turn in any case."""
        consumer.event_dispatcher.buffer_limit = EVENTS_AT_ONCE


class Announce(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Publishes the worker's models, and gives signs of life while it consumes."""

    requires = (Tasks,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._timer: Any = None
        self._published = False

    def start(self, consumer: Any) -> None:
        """Publish at once, and then at every beat."""
        self._published = False
        self._beat(consumer)
        self._timer = consumer.timer.call_repeatedly(BEAT_SECONDS, self._beat, (consumer,))

    def stop(self, consumer: Any) -> None:
        """Withdraw first, so that nobody counts on a worker that drains."""
        if self._timer:
            self._timer.cancel()
        try:
            consumer.app.headrace_registry.withdraw(consumer.hostname)
        except redis.RedisError as error:
            logger.warning("could not withdraw from the registry: %s", error)

    def _beat(self, consumer: Any) -> None:
        pool: BatchPool = consumer.pool
        models = sorted(consumer.app.headrace_manifests)
        record = WorkerRecord(
            name=consumer.hostname,
            device=pool.device,
            models=models,
            resident=pool.resident,
            served=served_models(pool.supervisor.models, pool.dispatcher),
            engine_restarts=pool.supervisor.restarts,
        )
        registry: Registry = consumer.app.headrace_registry
        try:
            if not self._published:
                registry.publish(consumer.app.headrace_manifests)
                self._published = True
            registry.beat(record)
            if len(models) > 1:
                # A worker of one model claims it whoever else has it.
                _look_around(pool, registry, record)
        except redis.RedisError as error:
            # Celery's own consumer notices a lost broker and reconnects.
            logger.warning("no sign of life could be given: %s", error)


def _look_around(pool: BatchPool, registry: Registry, record: WorkerRecord) -> None:
    def others() -> list[WorkerRecord]:
        return [each for each in registry.workers() if each.name != record.name]

    waiting = {model: depth.waiting for model, depth in depths(registry.client, record.models).items()}
    pool.prefetch.look(waiting, others)


def _batch_limits(pool: BatchPool) -> str:
    """Largest batch of each resident model."""
    return ", ".join(
        f"{each.model}: {each.max_batch_size or 'auto'} items, {each.max_batch_tokens or 'auto'} units"
        for each in map(pool.supervisor.models.loaded, pool.resident)
        if each is not None
    )
