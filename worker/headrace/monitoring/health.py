"""Health: whether a worker of this machine has given a sign of life lately."""

from collections.abc import Iterable

from headrace.broker.registry import WorkerRecord


def healthy_workers(records: Iterable[WorkerRecord], *, host: str, worker: str | None = None) -> list[str]:
    """Names of the workers that count: those of this host, or the one that is asked for.

    Args:
        records: What the registry tells; silent workers are not in it.
        host: This machine's host name.
        worker: `cpu0@host`, or `cpu0` for one of this host.
    """
    wanted = worker if worker is None or "@" in worker else f"{worker}@{host}"
    names = (record.name for record in records)
    return sorted(name for name in names if (name == wanted if wanted else name.endswith(f"@{host}")))
