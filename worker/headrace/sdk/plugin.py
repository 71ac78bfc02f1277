"""The interface that every model plugin implements."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from headrace.sdk.attention import AttentionNeed, AttentionStrategy
from headrace.sdk.config import BaseConfig
from headrace.sdk.device import Device
from headrace.sdk.messages import Footprint, Item, Outcome, Prepared
from headrace.sdk.placement import Placed, Placement


class ModelPluginInterface(ABC):
    """A model that headrace can run: four methods, three more if they help.

    The engine calls `initialize`, then `load_model`, then `prepare` and `infer` many
    times, then `cleanup`. `prepare` runs on a thread beside `infer`, so it must not
    touch what `infer` changes. Everything else happens on one thread, but for `load_model`
    of a plugin that sets `loads_beside`.

    Example:
        >>> class Upper(ModelPluginInterface):
        ...     def load_model(self) -> None: ...
        ...     def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        ...         return [Outcome(output=item.data["text"].upper()) for item in batch]
        ...     def cleanup(self) -> None: ...
    """

    #: The configuration class that the plugin's TOML and the user's table are read with.
    config_class: ClassVar[type[BaseConfig]] = BaseConfig

    #: Whether the plugin wants an AttentionStrategy.
    uses_attention: ClassVar[bool] = False

    #: What fits `attention_need`; set before `load_model` if wanted.
    attention: AttentionStrategy | None = None

    #: Whether the plugin loads by `placement`, so that a model larger than the device can run.
    pages_weights: ClassVar[bool] = False

    #: Whether `load_model` may run on a thread of its own, while other models' batches run: it must not change what
    #: they share. `from_pretrained` of transformers sets torch's default number type for all threads for a moment,
    #: so a model that it loads in another type than float32 must not.
    loads_beside: ClassVar[bool] = False

    #: Where the weights are to be; set before `load_model` if the plugin pages, None for all on the device.
    placement: Placement | None = None

    #: Where they are; set by the `load_model` of a plugin that pages.
    placed: Placed | None = None

    config: BaseConfig
    device: Device

    def initialize(self, config: BaseConfig, device: Device) -> None:
        """Keep the configuration and the device; cheap, loads nothing."""
        self.config = config
        self.device = device

    @abstractmethod
    def load_model(self) -> None:
        """Put the weights on the device; called once, on the model's first job."""

    @abstractmethod
    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Run one batch and return one outcome per item, in the batch's order.

        An exception is bisected by the framework until it stands alone on its item.
        """

    @abstractmethod
    def cleanup(self) -> None:
        """Free what `load_model` took; called once, before the engine ends or evicts the model."""

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        """Validate and encode items; by default each is passed on as it is, with size 1."""
        return [Prepared(data=item.input, params=item.params) for item in items]

    def sample(self, size: int) -> Prepared | None:
        """A made-up item of at most that size, on which is measured after loading what a batch costs.

        None, the default, has it measured on the first jobs, in batches that grow.
        """
        return None

    def attention_need(self) -> AttentionNeed:
        """What `attention` must be able to; packed sequences by default. Asked where `uses_attention` is set."""
        return AttentionNeed()

    def footprint(self) -> Footprint:
        """Bytes that the plugin expects to need; zero means "measure it"."""
        return Footprint()
