"""Lua scripts, each one change that is made whole."""

from importlib.resources import files

import redis
from redis.commands.core import Script


def script(client: redis.Redis, name: str) -> Script:
    """The script `<name>.lua`, to be called through a client."""
    return client.register_script(files(__name__).joinpath(f"{name}.lua").read_text())
