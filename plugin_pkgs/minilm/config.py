"""Configuration of the minilm plugin."""

from pydantic import Field

from headrace.sdk.config import BaseConfig


class MiniLMConfig(BaseConfig):
    """What a user may set under `[models.minilm]`."""

    #: Tokens of a text, special ones included; the rest is cut off.
    max_length: int = Field(default=256, ge=2, le=512)
    #: Parts of a batch that run at once on a CPU, each on one core; None for one per core,
    #: 1 for whole batches whose operators share torch's threads.
    shards: int | None = Field(default=None, ge=1, le=256)
