"""`python -m headrace.plugins.check`: does each plugin import, with the user's configuration?

A process of its own, since plugins import torch and may end the process that does. It reads
`{"plugin_path", "models", "names"}` as JSON; each line that it prints is a JSON pair, a
model's name and what is wrong with it or null.
"""

import contextlib
import json
import sys
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.plugins.discovery import discover
from headrace.plugins.factory import PluginFactory


def main() -> None:
    """Check the named plugins in turn."""
    asked = json.load(sys.stdin)
    catalog = discover([Path(each) for each in asked["plugin_path"]])
    factory, lines = PluginFactory(asked["models"]), sys.stdout
    for name in asked["names"]:
        problem = None
        # What a plugin prints as it is imported is no line of ours.
        with contextlib.redirect_stdout(sys.stderr):
            try:
                factory.load_class(catalog.get(name))
            except HeadraceError as error:
                problem = str(error)
        print(json.dumps([name, problem]), file=lines, flush=True)


if __name__ == "__main__":
    main()
