"""ModelStates: what an engine has told of its models."""

from collections.abc import Iterable, Mapping
from typing import Literal, TypeGuard

from headrace.engine.messages import Ended, Evicted, Loaded, LoadFailed, Message, Progress, Started

#: As `headrace models` shows them; a model that has had no job here has none.
State = Literal["STARTING", "READY", "BUSY", "EVICTED", "SETUP_FAILED"]


class ModelStates:
    """The latest that was told of each model."""

    def __init__(self) -> None:
        self._told: dict[str, Loaded | LoadFailed | Evicted | Started] = {}
        #: Of models that run step by step, how far each item is, by its id.
        self._progress: dict[str, dict[int, int]] = {}

    def note(self, message: Message) -> None:
        """Take in what concerns a model's state; the rest is none of its business."""
        if isinstance(message, Loaded | LoadFailed | Evicted) or _begins_loading(message):
            self._told[message.model] = message
        elif isinstance(message, Progress):
            self._progress[message.model] = message.done
        elif isinstance(message, Ended) and message.stage == "load":
            # What came of it is told next; nothing, where the engine only looked how large a model is.
            self._told = {model: told for model, told in self._told.items() if not isinstance(told, Started)}

    def clear(self) -> None:
        """The engine has gone, and its models with it; why one could not be used holds until it is tried again."""
        self._progress.clear()
        for model, told in self._told.items():
            if not isinstance(told, LoadFailed):
                self._told[model] = Evicted(model=model)

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Take in why models are not loaded for now, of which engines have died."""
        self._told |= {model: LoadFailed(model=model, reason=reason) for model, reason in reasons.items()}

    def loaded(self, model: str) -> Loaded | None:
        """What a resident model has; None for one that is not."""
        told = self._told.get(model)
        return told if isinstance(told, Loaded) else None

    def progress(self, model: str, item_ids: Iterable[int]) -> int:
        """How far items are that run step by step, together: tokens, say."""
        done = self._progress.get(model, {})
        return sum(done.get(item_id, 0) for item_id in item_ids)

    @property
    def resident(self) -> list[str]:
        """Models whose weights are on the device."""
        return sorted(model for model, told in self._told.items() if isinstance(told, Loaded))

    @property
    def known(self) -> list[str]:
        """Models that have a state."""
        return sorted(self._told)

    def state(self, model: str, *, busy: bool) -> State | None:
        """A model's state.

        Args:
            model: Its name.
            busy: Whether the engine has items of it.
        """
        told = self._told.get(model)
        match told:
            case Loaded():
                return "BUSY" if busy else "READY"
            case Started():
                return "STARTING"
            case LoadFailed():
                return "SETUP_FAILED"
            case Evicted():
                return "EVICTED"
            case _:
                return None

    def note_of(self, model: str) -> str:
        """Why a model cannot be used, or where else its weights are and which attention it has; else empty."""
        match self._told.get(model):
            case LoadFailed(reason=reason):
                return reason
            case Loaded(paged=paged, attention=attention):
                return ", ".join(filter(None, [paged, attention and f"attention {attention}"]))
            case _:
                return ""


def _begins_loading(message: Message) -> TypeGuard[Started]:
    return isinstance(message, Started) and message.stage == "load"
