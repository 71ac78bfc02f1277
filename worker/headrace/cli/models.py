"""`headrace models`: what can be asked of whom."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.errors import BrokerUnavailable

if TYPE_CHECKING:
    from headrace.broker.depth import Depth
    from headrace.broker.registry import ServedModel, WorkerRecord
    from headrace.settings import Settings

_COLUMNS = ("model", "task", "version", "devices", "workers", "state", "waiting", "dead", "from")


models = typer.Typer()


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context) -> None:
    """List the models, and who serves them.

    Names what is wrong with plugins that cannot be used. Works without a broker.
    """
    if context.invoked_subcommand is not None:
        return
    from headrace.cli.output import note, print_table
    from headrace.plugins.discovery import discover
    from headrace.settings import get_settings

    settings = get_settings()
    catalog = discover(settings.plugin_path)
    here = {name: found.manifest.model_dump(mode="json") for name, found in catalog.plugins.items()}
    try:
        published, workers, depth = _published(settings)
    except BrokerUnavailable as error:
        published, workers, depth = {}, [], {}
        note(f"no broker, so only this machine's models are listed: {error}")
    print_table(_COLUMNS, rows_of(here, published, workers, depth))
    for problem in catalog.problems:
        note(f"problem [{problem.code}]: {problem}")


@models.command("pull")
def pull_weights(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As `headrace models` lists it.")],
) -> None:
    """Fetch a model's weights, check them and convert them, if they are not here yet."""
    from headrace.cli.output import note
    from headrace.errors import ConfigError
    from headrace.plugins.discovery import discover
    from headrace.plugins.factory import PluginFactory
    from headrace.sdk.pull import pull
    from headrace.settings import get_settings

    settings = get_settings()
    _, config = PluginFactory(settings.models).load_class(discover(settings.plugin_path).get(model))
    if config.weights is None:
        raise ConfigError(f"model {model} names no weights: write them under [models.{model}.weights]")
    typer.echo(pull(config.weights, note))


def _published(
    settings: "Settings",
) -> "tuple[dict[str, dict[str, Any]], list[WorkerRecord], Mapping[str, Depth]]":
    from headrace.broker.access import running_broker
    from headrace.broker.depth import depths
    from headrace.broker.registry import Registry
    from headrace.cli.session import broker_of

    with broker_of(running_broker(settings), settings) as client:
        registry = Registry(client)
        models = registry.models()
        return models, registry.workers(), depths(client, models)


def rows_of(
    here: dict[str, dict[str, Any]],
    published: dict[str, dict[str, Any]],
    workers: "list[WorkerRecord]",
    depth: "Mapping[str, Depth]",
) -> list[tuple[str, ...]]:
    """One row per model; a published manifest stands over a local one, as for a client."""
    rows: list[tuple[str, ...]] = []
    for name, manifest in sorted((here | published).items()):
        serving = sorted(worker.name for worker in workers if name in worker.models)
        states = sorted(_state(worker.name, worker.served[name]) for worker in workers if name in worker.served)
        places = [place for place, known in (("here", here), ("workers", published)) if name in known]
        about = (
            str(manifest.get("task")),
            str(manifest.get("version")),
            ",".join(manifest.get("devices", [])),
        )
        jobs = (str(depth[name].waiting), str(depth[name].dead)) if name in depth else ("-", "-")
        rows.append((name, *about, ",".join(serving) or "-", "; ".join(states) or "-", *jobs, ",".join(places)))
    return rows


def _state(worker: str, served: "ServedModel") -> str:
    """One worker's word on a model.

    Example:
        >>> _state("cpu0@x", {"state": "READY", "weights": 2**20, "rate": 12.34, "note": ""})
        'cpu0@x READY, 1 MiB, 12.3 items/s'
    """
    parts = [f"{worker} {served['state']}"]
    if served["weights"]:
        parts.append(f"{served['weights'] / 2**20:,.0f} MiB")
    if served["rate"] is not None:
        parts.append(f"{served['rate']:,.1f} items/s")
    return ", ".join([*parts, *filter(None, [served["note"]])])
