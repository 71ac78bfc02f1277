"""Configuration of the minilm plugin."""

from pydantic import Field

from headrace.sdk.config import BaseConfig


class MiniLMConfig(BaseConfig):
    """What a user may set under `[models.minilm]`."""

    #: Tokens of a text, special ones included; the rest is cut off.
    max_length: int = Field(default=256, ge=2, le=512)
