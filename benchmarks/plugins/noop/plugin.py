"""NoopPlugin: gives back what it gets."""

from collections.abc import Sequence

from headrace.sdk import Item, ModelPluginInterface, Outcome, Prepared


class NoopPlugin(ModelPluginInterface):
    """Answers at once."""

    def load_model(self) -> None:
        """There is none."""

    def prepare(self, items: Sequence[Item]) -> list[Prepared]:
        """Pass inputs on."""
        return [Prepared(data=item.input) for item in items]

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Give back the inputs."""
        return [Outcome(output=item.data) for item in batch]

    def cleanup(self) -> None:
        """Nothing to free."""
