"""What `headrace doctor` finds out about plugins, without importing one in this process."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

from headrace.monitoring.checks import Check, broken, missing, ok
from headrace.plugins.catalog import FoundPlugin, unknown_model_message
from headrace.plugins.discovery import discover
from headrace.settings import Settings

#: Seconds that importing the plugins may take on a cold disk.
_IMPORT_LIMIT = 180.0


def examine_plugins(settings: Settings) -> Iterator[Check]:
    """One check for each plugin, each manifest that is left out, and each table without a model."""
    catalog = discover(settings.plugin_path)
    problems = import_problems(settings, sorted(catalog.plugins))
    for name, problem in problems.items():
        yield _plugin(catalog.plugins[name], problem)
    for left_out in catalog.problems:
        yield broken("plugin", left_out.code, str(left_out))
    for name in sorted(settings.models.keys() - catalog.plugins.keys()):
        mend = f"correct or remove the table [models.{name}]"
        yield broken("configuration", unknown_model_message(name, catalog.plugins), mend)
    if not catalog.plugins:
        yield missing("models", "none found", "set HEADRACE_PLUGIN_PATH to a folder of plugins")


def _plugin(found: FoundPlugin, problem: str | None) -> Check:
    name, what = f"model {found.manifest.name}", f"{found.manifest.version} in {found.folder}"
    return broken(name, what, problem) if problem else ok(name, what)


def import_problems(settings: Settings, names: Sequence[str]) -> dict[str, str | None]:
    """What is wrong with each plugin, None if nothing is."""
    problems: dict[str, str | None] = {}
    while remaining := [name for name in names if name not in problems]:
        answered, how = _ask(settings, remaining)
        problems |= answered
        if guilty := next((name for name in remaining if name not in answered), None):
            problems[guilty] = f"{how} while it was imported: try python -c 'import ...' with its entry point"
    return problems


def _ask(settings: Settings, names: Sequence[str]) -> tuple[dict[str, str | None], str]:
    """Answers of one process about the first of `names`, and how it ended."""
    asked = {"plugin_path": list(map(str, settings.plugin_path)), "models": settings.models, "names": names}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "headrace.plugins.check"],
            input=json.dumps(asked, default=str).encode(),
            capture_output=True,
            timeout=_IMPORT_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return dict(_pairs(error.stdout or b"", names)), f"took longer than {_IMPORT_LIMIT:g} s"
    return dict(_pairs(done.stdout, names)), f"its process ended with code {done.returncode}"


def _pairs(lines: bytes, names: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    for line in lines.splitlines():
        try:
            name, problem = json.loads(line)
        except (ValueError, TypeError):
            continue  # Printed by a library, below Python.
        if name in names:
            yield name, problem
