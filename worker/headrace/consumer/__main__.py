"""`python -m headrace.consumer`: one Celery worker on one device."""

import argparse
import gc
import logging
import signal

from celery.apps.worker import Worker
from celery.worker import state

from headrace.broker.app import INFER, make_app
from headrace.broker.claims import Claims
from headrace.broker.connection import connect, connect_hastily
from headrace.broker.embedded import shared
from headrace.broker.lease import RENEWALS, leased
from headrace.broker.reaper import Reaper
from headrace.broker.registry import Registry
from headrace.broker.transport import leased_transport, use_in_this_process
from headrace.broker.watchdog import Watchdog
from headrace.consumer.credit import Credit
from headrace.consumer.pool import BatchPool
from headrace.consumer.settle import Settler
from headrace.consumer.steps import Announce, EngineInfo, EventGroups
from headrace.consumer.tasks import register_tasks
from headrace.errors import BrokerUnavailable
from headrace.lifetime import end_with_parent
from headrace.plugins.discovery import Catalog, discover
from headrace.settings import Settings, get_settings


def main() -> None:
    """Run a worker until it is told to stop."""
    arguments = _arguments()
    settings = get_settings()
    if settings.redis_url is None:
        raise BrokerUnavailable("a worker needs HEADRACE_REDIS_URL: start it with `headrace worker`")
    end_with_parent(arguments.parent, signal.SIGTERM)
    _quiet_per_job_logs(arguments.loglevel)
    with shared(settings.redis_url, settings.state_dir, bundled=settings.broker == "bundled"):
        worker = _worker(arguments, settings, settings.redis_url)
        _collect_seldom()
        # On the thread of the lease, which is to be renewed meanwhile.
        client = connect_hastily(settings.redis_url, settings, timeout=_renewal_timeout(settings))
        reaper = Reaper(client, lease_seconds=settings.lease_seconds)
        claims = worker.app.headrace_claims
        watchdog = Watchdog(connect(settings.redis_url, settings), claims)
        with leased(claims, reaper, settings.lease_seconds), watchdog:
            worker.start()
    # Celery gives a cold shutdown's code to nobody.
    raise SystemExit(worker.exitcode or state.should_terminate or 0)


def _worker(arguments: argparse.Namespace, settings: Settings, url: str) -> Worker:
    catalog = discover(settings.plugin_path)
    models = arguments.models.split(",") if arguments.models else sorted(catalog.plugins)
    app = make_app(url, settings)
    app.conf.headrace_device, app.conf.headrace_gpu = arguments.device, arguments.gpu
    app.conf.headrace_max_attempts = settings.max_attempts
    app.headrace_registry = Registry(connect(url, settings))
    app.headrace_manifests = _manifests(catalog, models)
    register_tasks(app, {model: catalog.get(model).manifest.params_schema for model in models})
    claims = Claims(
        connect_hastily(url, settings),
        renewer=connect_hastily(url, settings, timeout=_renewal_timeout(settings)),
        name=arguments.name,
        lease_seconds=settings.lease_seconds,
    )
    claims.begin()
    app.headrace_claims = claims
    app.headrace_settler = Settler(claims, expires=settings.result_expires)
    transport = leased_transport(claims, lambda queue: worker.pool.room(queue), lambda: worker.pool.feed())  # noqa: PLW0108 - made below
    use_in_this_process(transport)
    app.steps["worker"].add(EngineInfo)
    app.steps["consumer"].update({Credit, Announce, EventGroups})
    worker: Worker = app.Worker(
        hostname=arguments.name,
        pool_cls=BatchPool,
        concurrency=1,
        queues=[INFER + model for model in models],
        task_events=True,
        loglevel=arguments.loglevel,
        # Mingle waits a second at every start; gossip serves features that we don't use.
        without_mingle=True,
        without_gossip=True,
    )
    return worker


def _renewal_timeout(settings: Settings) -> float:
    """Seconds after which what the lease waits for is given up: one that hangs must not use it up."""
    return min(settings.connect_timeout, settings.lease_seconds / RENEWALS)


def _collect_seldom() -> None:
    """Have Python look for cycles at times that suit a process with thousands of jobs in memory.

    Performance: by its own thresholds it looks through all of them many times a second, a tenth of the
    worker's time. What a job leaves behind goes by reference count.
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _quiet_per_job_logs(loglevel: str) -> None:
    """Keep outputs, and two lines a job, out of the log unless it is at DEBUG."""
    if loglevel.upper() != "DEBUG":
        for name in ("celery.app.trace", "celery.worker.strategy"):
            logging.getLogger(name).setLevel(logging.WARNING)


def _manifests(catalog: Catalog, models: list[str]) -> dict[str, dict[str, object]]:
    return {model: catalog.get(model).manifest.model_dump(mode="json") for model in models}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m headrace.consumer")
    parser.add_argument("--name", required=True)
    parser.add_argument("--parent", type=int, required=True, help="end in order when this process is gone")
    parser.add_argument("--device", default="cpu:0")
    parser.add_argument("--gpu", default="", help="the device's UUID; default: what the driver tells")
    parser.add_argument("--models", default="", help="comma-separated; default: every model found")
    parser.add_argument("--loglevel", default="INFO")
    return parser.parse_args()


if __name__ == "__main__":
    main()
