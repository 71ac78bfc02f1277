"""Sampling: the next token of a sequence, the same whenever and beside whomever it is drawn."""

from hashlib import blake2b

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

#: Strings that end a text at most, and the tokens whose probabilities may be asked for.
_MOST_STOPS, _MOST_LOGPROBS = 16, 20


class SamplingParams(BaseModel):
    """What a job may say of how its text is made; names and bounds are those of OpenAI's API."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_tokens: int = Field(default=256, ge=1, le=2**20)
    #: 0 takes the likeliest token each time.
    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    #: The likeliest tokens that together have this probability.
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    #: The likeliest tokens, so many of them; 0 for all.
    top_k: int = Field(default=0, ge=0)
    #: The same seed gives the same text.
    seed: int = Field(default=0, ge=0, lt=2**63)
    #: Strings before which the text ends.
    stop: tuple[str, ...] = ()
    #: How many of the likeliest tokens are told beside each, with their log-probabilities; None for none at all.
    logprobs: int | None = Field(default=None, ge=0, le=_MOST_LOGPROBS)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        if isinstance(value, str):
            return (value,)
        return tuple(value) if isinstance(value, list) else value

    @field_validator("stop")
    @classmethod
    def _some_text(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > _MOST_STOPS or not all(value):
            raise ValueError(f"stop takes at most {_MOST_STOPS} strings, none of them empty")
        return value


def choose(logits: Tensor, params: SamplingParams, position: int) -> int:
    """The next token.

    Args:
        logits: (vocabulary).
        params: The job's.
        position: Of the token that is chosen, from the begin of the prompt.
    """
    if params.temperature == 0:
        return int(logits.argmax())
    scores, tokens = torch.sort(logits.float() / params.temperature, descending=True, stable=True)
    if params.top_k:
        scores = scores[: params.top_k]
    shares = torch.softmax(scores, -1, dtype=torch.float64).cumsum(-1)
    # The token that crosses `top_p` is the last of them.
    kept = min(int(torch.searchsorted(shares, params.top_p)) + 1, len(shares))
    point = _uniform(params.seed, position) * float(shares[kept - 1])
    return int(tokens[min(int(torch.searchsorted(shares, point, right=True)), kept - 1)])


def _uniform(seed: int, position: int) -> float:
    """A number from 0 up to 1 that depends on nothing else: a sequence that runs again gives the same text."""
    digest = blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
