"""FaultyPlugin: every way in which a plugin can fail, on demand."""

import ctypes
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from headrace.errors import InferenceFailed, InvalidInput
from headrace.sdk import Item, ModelPluginInterface, Outcome, Prepared


class TryAgain(InferenceFailed):
    """This attempt failed, and the next one will not."""

    retryable = True


class FaultyPlugin(ModelPluginInterface):
    """Echoes, unless an item's `do` says otherwise."""

    def load_model(self) -> None:
        """There is none."""

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        """Refuse what asks to be refused."""
        return [_prepare(item) for item in items]

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Do what each item says, in the batch's order."""
        outcomes = [Outcome(output=_do(each.data)) for each in batch]
        return outcomes[: -1 if any(each.data.get("do") == "short" for each in batch) else None]

    def cleanup(self) -> None:
        """Nothing to free."""


def _prepare(item: Item) -> Prepared:
    if item.input.get("do") == "refuse":
        return Prepared(error=InvalidInput("text: refused, as the input asked for"))
    if item.input.get("do") == "hog":
        # With the interpreter's lock: no thread of the engine does anything meanwhile.
        ctypes.PyDLL(None).sleep(int(item.input["seconds"]))
    return Prepared(data=item.input | {"attempt": item.attempt}, params=item.params)


def _do(data: dict[str, Any]) -> dict[str, Any]:
    _ACTIONS.get(data.get("do", "echo"), _nothing)(data)
    text = math.nan if data.get("do") == "nan" else data["text"]
    return {"text": text, "pid": os.getpid(), "attempt": data.get("attempt", 1)}


def _nothing(data: dict[str, Any]) -> None:
    """`echo`, and what is done elsewhere."""


def _raise(data: dict[str, Any]) -> NoReturn:
    raise ValueError(f"told to raise on {data['text']!r}")


def _exit(data: dict[str, Any]) -> NoReturn:
    os._exit(3)


def _orphan(data: dict[str, Any]) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(10)


def _segfault(data: dict[str, Any]) -> None:
    ctypes.string_at(0)


def _sleep(data: dict[str, Any]) -> None:
    if "path" in data:
        with Path(data["path"]).open("a") as ledger:
            ledger.write(f"{data['text']}\n")
    time.sleep(data.get("seconds", 0.0))


def _retry(data: dict[str, Any]) -> None:
    path = Path(data["path"])
    if not path.exists():
        path.touch()
        raise TryAgain("told to fail the first time")


def _memory(data: dict[str, Any]) -> NoReturn:
    raise MemoryError("told to run out of memory")


_ACTIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "raise": _raise,
    "exit": _exit,
    "segfault": _segfault,
    "orphan": _orphan,
    "sleep": _sleep,
    "retry": _retry,
    "memory": _memory,
}
