"""The base of every plugin's configuration."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from headrace.sdk.weights import WeightSource


class BaseConfig(BaseModel):
    """Limits that every plugin has; a plugin adds its own fields in a subclass.

    Values come from the plugin's `configs/default.toml`, then from the table
    `[models.<name>]` of the user's configuration file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Where the weights are; None for a plugin that has none.
    weights: WeightSource | None = None
    #: Number type of weights and activations; `auto` lets the plugin choose by device.
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    #: Most items in one `infer` call; `auto`, which reads as None, is as many as the memory takes.
    max_batch_size: int | None = Field(default=None, ge=1)
    #: Most units (items times the largest `Prepared.size`) in one `infer` call; `auto` the same.
    max_batch_tokens: int | None = Field(default=None, ge=1)
    #: Seconds that one `infer` call may take before its engine is killed.
    batch_time_limit: float = Field(default=300.0, gt=0)

    #: Whether the model stays on the device once it is loaded.
    pinned: bool = False
    #: Seconds without a job after which the model leaves the device though nobody needs the room; None for never.
    keep_alive: float | None = Field(default=None, gt=0)

    @field_validator("max_batch_size", "max_batch_tokens", mode="before")
    @classmethod
    def _auto(cls, value: object) -> object:
        return None if value == "auto" else value
