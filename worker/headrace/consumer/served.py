"""What a worker tells of the models that it serves."""

from headrace.broker.registry import ServedModel
from headrace.consumer.dispatch import Dispatcher
from headrace.engine.states import ModelStates


def served_models(models: ModelStates, dispatcher: Dispatcher) -> dict[str, ServedModel]:
    """State, bytes and rate of each model that has had a job here."""
    return {name: _served(name, models, dispatcher) for name in models.known}


def _served(name: str, models: ModelStates, dispatcher: Dispatcher) -> ServedModel:
    lane, loaded = dispatcher.lane(name), models.loaded(name)
    return ServedModel(
        state=models.state(name, busy=lane.handed > 0) or "",
        weights=loaded.weights if loaded else 0,
        rate=lane.rate.value,
        concurrency=loaded.concurrency if loaded else 0,
        note=models.note_of(name),
    )
