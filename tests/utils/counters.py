"""A continuous plugin that counts: an item is a number of steps, or `{"steps", "bytes", ...}` with what else to do."""

import time
from collections.abc import Callable, Sequence

from headrace.errors import InferenceFailed
from headrace.sdk.continuous import CacheState, ContinuousPluginInterface, Cut
from headrace.sdk.messages import Item, Outcome, Prepared


class Counter(ContinuousPluginInterface):
    """Counts each item up to its number; `on` gives what to do before a step in which an item is."""

    concurrency = 4

    def __init__(self, on: dict[str, Callable[[], None]] | None = None, *, pause: float = 0.0) -> None:
        self.on = on or {}
        self.pause = pause
        self.keep_alive: float | None = None
        self.weights = 0
        self.log: list[str] = []
        self.sizes: list[int] = []
        self._here: dict[int, dict[str, object]] = {}
        self._held = 0

    def load_model(self) -> None:
        """Note it."""
        self.log.append("load")

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        """`"name steps"`, or `"name steps bytes"`."""
        return [_prepared(item.input) for item in items]

    def add(self, key: int, item: Prepared) -> None:
        """Line it up."""
        self._here[key] = {**item.data, "done": 0}

    def step(self) -> list[tuple[int, Outcome]]:
        """Count each of the first ones once."""
        time.sleep(self.pause)
        running = list(self._here.items())[: self.concurrency]
        self.log.append("step " + " ".join(str(each["name"]) for _, each in running))
        ended: list[tuple[int, Outcome]] = []
        for key, each in running:
            try:
                self.on.get(str(each["name"]), lambda: None)()
            except MemoryError as error:
                failure = InferenceFailed("lack")
                failure.__cause__ = error
                del self._here[key]
                ended.append((key, Outcome(error=failure)))
                continue
            each["done"] = int(str(each["done"])) + 1
            if each["done"] == each["steps"]:
                del self._here[key]
                ended.append((key, Outcome(output=f"{each['name']} {each['done']}")))
        return ended

    def cancel(self, key: int, cut: Cut) -> Outcome | None:
        """With what there is."""
        each = self._here.pop(key, None)
        return Outcome(output=f"{each['name']} {cut}") if each else None

    @property
    def progress(self) -> dict[int, int]:
        """Steps of each."""
        return {key: int(str(each["done"])) for key, each in self._here.items()}

    @property
    def cache(self) -> CacheState:
        """What each item says."""
        sizes = [int(str(each["bytes"])) for each in self._here.values()]
        return CacheState(held=self._held, wanted=sum(sizes[: self.concurrency]), least=max(sizes, default=0))

    def resize(self, count: int) -> None:
        """Note it."""
        self._held = count
        self.sizes.append(count)

    def cleanup(self) -> None:
        """Note it."""
        self.log.append("cleanup")
        self._here.clear()


def _prepared(value: str) -> Prepared:
    name, steps, *size = value.split()
    return Prepared(data={"name": name, "steps": int(steps), "bytes": int(size[0]) if size else 0})
