"""`headrace submit`: one job."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.arguments import Model, Params, parse_params
from headrace.errors import ConfigError, InvalidInput

if TYPE_CHECKING:
    from headrace.client import Client


def submit(
    *,
    model: Model,
    text: Annotated[str | None, typer.Option("--text", help="Value of the input's main field.")] = None,
    value: Annotated[str | None, typer.Option("--input", help="The whole input as JSON.")] = None,
    param: Params = None,
    wait: Annotated[float | None, typer.Option("--wait", min=0, help="Seconds to wait for it.")] = None,
) -> None:
    """Queue one input and print the job's id.

    With --wait, print its result as JSON.
    """
    from headrace.cli.output import note, print_json
    from headrace.client import Client
    from headrace.settings import get_settings

    if (text is None) == (value is None):
        raise ConfigError("give the input once: --text TEXT or --input JSON")
    params, parsed = parse_params(param), None if value is None else _parse(value)
    with Client(settings=get_settings()) as client:
        job = client.submit(model, parsed if text is None else {_field(client, model): text}, params=params)
        if wait is not None:
            print_json(job.result(wait))
            return
        typer.echo(job.id)
        if not client.registry.serving(model):
            note(f"no worker serves {model} now: the job waits for one")


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--input is not JSON: {error}") from None


def _field(client: "Client", model: str) -> str:
    return client.manifest(model).field or "text"
