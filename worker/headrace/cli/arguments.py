"""Options that several verbs have, and how their text is read."""

import json
from typing import Annotated, Any

import typer

from headrace.errors import ConfigError

Model = Annotated[str, typer.Option("--model", "-m", help="Name of the model; `headrace models` lists them.")]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="KEY=VALUE", help="A parameter of the model; VALUE is JSON or a plain word."),
]
Devices = Annotated[str, typer.Option("--devices", help="auto, cpu, cpu:0,cpu:1 or cuda:0,cuda:1.")]
Models = Annotated[str, typer.Option("--models", help="Models to serve, with commas between. Default: all.")]
LogLevel = Annotated[str, typer.Option("--loglevel", help="DEBUG, INFO, WARNING or ERROR.")]
Address = Annotated[str, typer.Option("--address", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Flower's port; 0 for any free one.")]
BasicAuth = Annotated[
    str,
    typer.Option(
        "--basic-auth",
        metavar="USER:PASSWORD",
        envvar=["HEADRACE_FLOWER_BASIC_AUTH", "FLOWER_BASIC_AUTH"],
        show_envvar=True,
        help="What Flower asks for. Set the variable rather: others can see a command line.",
    ),
]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def parse_params(pairs: list[str] | None) -> dict[str, Any]:
    """Read `key=value` pairs; a value that is JSON is taken as such.

    Raises:
        ConfigError: If a pair has no `=`.

    Example:
        >>> parse_params(["top=3", "mode=fast"])
        {'top': 3, 'mode': 'fast'}
    """
    params = {}
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise ConfigError(f"--param {pair!r} is not KEY=VALUE")
        params[key] = _value(text)
    return params


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_names(text: str) -> list[str]:
    """Split names at commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_loglevel(text: str) -> str:
    """Check the name of a log level.

    Raises:
        ConfigError: If it is none.
    """
    if text.upper() not in _LEVELS:
        raise ConfigError(f"unknown log level {text!r}: use one of {', '.join(_LEVELS)}")
    return text.upper()
