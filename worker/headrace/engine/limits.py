"""Limits: how long each stage of an engine may take."""

from collections.abc import Mapping

from headrace.engine.messages import Loaded, Started
from headrace.engine.work import WorkItem

#: Limit in seconds of what begins before `Loaded` has told the model's own.
_UNKNOWN_LIMIT = 300.0


class Limits:
    """What `Loaded` has told of the models of one engine."""

    def __init__(self, load_time_limit: float) -> None:
        self._load_time_limit = load_time_limit
        #: By the model's name.
        self.loaded: dict[str, Loaded] = {}

    def of(self, started: Started, items: Mapping[int, WorkItem]) -> float:
        """Seconds that a stage may take.

        Args:
            started: The stage.
            items: Every item without an outcome, by its id.
        """
        if started.stage == "load":
            return self._load_time_limit
        loaded = self.loaded.get(started.model)
        own = loaded.batch_time_limit if loaded else _UNKNOWN_LIMIT
        if started.stage == "prepare":
            # A window has many jobs' items: the limit of one is none of the others'.
            return own
        named = (items.get(item_id) for item_id in started.item_ids)
        return min([own, *(item.terms.time_limit for item in named if item and item.terms.time_limit)])
