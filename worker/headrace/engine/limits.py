"""Limits: how long each stage of an engine may take."""

from collections.abc import Mapping

from headrace.engine.messages import Started
from headrace.engine.states import ModelStates
from headrace.engine.work import WorkItem

#: Limit in seconds of what begins before `Loaded` has told the model's own.
_UNKNOWN_LIMIT = 300.0


class Limits:
    """The user's, the model's own, and those of jobs."""

    def __init__(self, models: ModelStates, load_time_limit: float) -> None:
        self._models = models
        self._load_time_limit = load_time_limit

    def of(self, started: Started, items: Mapping[int, WorkItem]) -> float:
        """Seconds that a stage may take.

        Args:
            started: The stage.
            items: Every item without an outcome, by its id.
        """
        if started.stage == "load":
            return self._load_time_limit
        loaded = self._models.loaded(started.model)
        own = loaded.batch_time_limit if loaded else _UNKNOWN_LIMIT
        if started.stage in {"prepare", "generate"}:
            # They have many jobs' items: the limit of one is none of the others'.
            return own
        named = (items.get(item_id) for item_id in started.item_ids)
        return min([own, *(item.terms.time_limit for item in named if item and item.terms.time_limit)])
