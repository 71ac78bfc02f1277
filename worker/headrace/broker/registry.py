"""Registry: which models there are, and which workers serve them now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypedDict

import orjson

from headrace.broker.connection import Server

_MODELS = "headrace:models"
_WORKERS = "headrace:workers"
#: Seconds between two signs of life, and after how many of silence a worker is gone.
BEAT_SECONDS, SILENCE_SECONDS = 0.5, 10


class ServedModel(TypedDict):
    """What a worker tells of a model that has had a job there."""

    #: STARTING, READY, BUSY, EVICTED or SETUP_FAILED.
    state: str
    #: Bytes of the device that its weights take; 0 where they are not there.
    weights: int
    #: Items per second of the last batches, None before the first.
    rate: float | None
    #: Items that run at once and are answered one by one; 0 where batches run to their end.
    concurrency: int
    #: Why it cannot be used, or where else its weights are; else empty.
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRecord:
    """What a worker tells about itself at every beat."""

    name: str
    device: str = "unknown"
    models: Sequence[str] = ()
    #: Models whose weights are on the device.
    resident: Sequence[str] = ()
    #: Those that have had a job.
    served: Mapping[str, ServedModel] = field(default_factory=dict)
    #: Engines that it has lost since it started.
    engine_restarts: int = 0


class Registry:
    """Models and workers in Redis."""

    def __init__(self, client: Server) -> None:
        #: Its connection, for what else is to be asked at a beat.
        self.client = client

    def publish(self, manifests: Mapping[str, Mapping[str, Any]]) -> None:
        """Tell clients on other machines of the models that this worker serves."""
        if manifests:
            mapping = {name: orjson.dumps(manifest) for name, manifest in manifests.items()}
            self.client.hset(self.client.key(_MODELS), mapping=mapping)  # type: ignore[arg-type]

    def models(self) -> dict[str, dict[str, Any]]:
        """Manifests by model, of every worker that ever served here."""
        stored: Any = self.client.hgetall(self.client.key(_MODELS))
        return {name.decode(): orjson.loads(manifest) for name, manifest in stored.items()}

    def beat(self, record: WorkerRecord) -> None:
        """Give a sign of life."""
        with self.client.pipeline(transaction=False) as pipe:
            pipe.sadd(self.client.key(_WORKERS), record.name)
            pipe.set(self._key(record.name), orjson.dumps(asdict(record)), ex=SILENCE_SECONDS)
            pipe.execute()

    def withdraw(self, name: str) -> None:
        """Say that a worker claims no more jobs."""
        with self.client.pipeline(transaction=False) as pipe:
            pipe.srem(self.client.key(_WORKERS), name)
            pipe.delete(self._key(name))
            pipe.execute()

    def workers(self) -> list[WorkerRecord]:
        """Workers that have given a sign of life lately."""
        names: Any = self.client.smembers(self.client.key(_WORKERS))
        if not names:
            return []
        stored: Any = self.client.mget([self._key(name.decode()) for name in names])
        self._forget_silent(name for name, value in zip(names, stored, strict=True) if value is None)
        return [_read_record(value) for value in stored if value is not None]

    def serving(self, model: str) -> list[WorkerRecord]:
        """Those of them that serve a model."""
        return [worker for worker in self.workers() if model in worker.models]

    def _key(self, worker: str) -> str:
        return self.client.key(f"headrace:worker:{worker}")

    def _forget_silent(self, names: Iterable[bytes]) -> None:
        if silent := list(names):
            self.client.srem(self.client.key(_WORKERS), *silent)


def _read_record(value: bytes) -> WorkerRecord:
    """Read a record; a worker of another version may tell more, or less."""
    known = {each.name for each in fields(WorkerRecord)}
    return WorkerRecord(**{name: told for name, told in orjson.loads(value).items() if name in known})
