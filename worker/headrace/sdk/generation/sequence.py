"""Sequence: one prompt and what was generated of it so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from headrace.errors import HeadraceError
from headrace.sdk.generation.sampling import SamplingParams

#: Why a text ends: a stop string or the model's own end, `max_tokens`, its job was revoked, its time was up.
FinishReason = Literal["stop", "length", "cancelled", "deadline"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is to be generated."""

    #: Token ids, one at least.
    prompt: list[int]
    params: SamplingParams
    #: Whether the text ends with the tokens generated so far; asked after each.
    is_stop: Callable[[list[int]], bool] = lambda _: False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A sequence that runs no more."""

    key: int
    tokens: list[int]
    prompt_tokens: int
    reason: FinishReason = "stop"
    logprobs: list[tuple[float, list[tuple[int, float]]]] = field(default_factory=list)
    #: Why there is no text; None if there is one.
    error: HeadraceError | None = None


@dataclass(kw_only=True, slots=True, eq=False)
class Sequence:
    """A request that runs, or waits for room."""

    key: int
    request: Request
    #: The prompt, and what was generated.
    tokens: list[int]
    #: Tokens whose keys and values are in the cache.
    cached: int = 0
    blocks: list[int] = field(default_factory=list)
    #: Of each generated token, and of the likeliest at its place: token ids and log-probabilities.
    logprobs: list[tuple[float, list[tuple[int, float]]]] = field(default_factory=list)

    @property
    def generated(self) -> list[int]:
        """Tokens behind the prompt."""
        return self.tokens[len(self.request.prompt) :]

    @property
    def missing(self) -> int:
        """Tokens to run before the next one can be chosen: 1 while it generates, more after it has joined."""
        return len(self.tokens) - self.cached

    @property
    def longest(self) -> int:
        """Tokens that it has at most in the end; the last one is never run."""
        return len(self.request.prompt) + self.request.params.max_tokens - 1

    def finished(self, reason: FinishReason, error: HeadraceError | None = None) -> Finished:
        """What has come of it; nothing but the error if there is one."""
        return Finished(
            key=self.key,
            tokens=[] if error else self.generated,
            prompt_tokens=len(self.request.prompt),
            reason=reason,
            logprobs=self.logprobs,
            error=error,
        )
