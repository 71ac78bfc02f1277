"""Prompts: from a job's input to token ids, and from token ids to text."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from headrace.errors import InvalidInput
from headrace.sdk.generation.sampling import SamplingParams
from headrace.sdk.generation.sequence import Request
from headrace.sdk.manifest import describe_errors

#: Bytes of a character at most, and tokens before a stop string that are looked at with it.
_CHARACTER_BYTES, _BEFORE_STOP = 4, 8


class Prompts:
    """Encodes and decodes with a model's own tokenizer and chat template."""

    def __init__(self, tokenizer: Any, *, vocabulary: int, context: int) -> None:
        """Note the model's limits.

        Args:
            tokenizer: One of transformers'.
            vocabulary: Token ids are below this.
            context: Tokens of a prompt and its text together.
        """
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        #: Tokens of a prompt and its text together.
        self.context = context

    def request(self, given: Any, params: Mapping[str, Any]) -> Request:
        """What an input and its params ask for.

        Args:
            given: `{"prompt": text or token ids}`, or `{"messages": [{"role", "content"}, ...]}`.
            params: Fields of SamplingParams.

        Raises:
            InvalidInput: If it is none of these, or more than the model takes.
        """
        try:
            sampling = SamplingParams.model_validate(dict(params))
        except ValidationError as error:
            raise InvalidInput(f"params: {describe_errors(error)}") from None
        prompt = self._encode(given)
        if len(prompt) + sampling.max_tokens > self.context:
            raise InvalidInput(
                f"the prompt has {len(prompt)} tokens and max_tokens is {sampling.max_tokens}: the model takes "
                f"{self.context} together, so shorten one of them"
            )
        return Request(prompt=prompt, params=sampling, is_stop=self._stops_at(sampling.stop))

    def text(self, tokens: list[int], stop: tuple[str, ...] = ()) -> str:
        """Generated tokens as text, up to the first of the stop strings."""
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text[: min((at for each in stop if (at := text.find(each)) >= 0), default=len(text))]

    def _encode(self, given: Any) -> list[int]:
        if not isinstance(given, dict) or len({"prompt", "messages"} & set(given)) != 1 or len(given) != 1:
            raise InvalidInput('an input has one of two fields: {"prompt": "..."} or {"messages": [...]}')
        prompt = given.get("prompt")
        tokens = self._checked(prompt) if isinstance(prompt, list) else self._tokens(given)
        if not tokens:
            raise InvalidInput("the prompt is empty: there is nothing to go on from")
        return tokens

    def _checked(self, tokens: list[Any]) -> list[int]:
        for each in tokens:
            if type(each) is not int or not 0 <= each < self._vocabulary:
                last = self._vocabulary - 1
                raise InvalidInput(f"the prompt has the token {each!r:.40}: the vocabulary is 0 to {last}")
        return tokens

    def _tokens(self, given: dict[str, Any]) -> list[int]:
        text = given.get("prompt") if "prompt" in given else self._chat(given["messages"])
        if not isinstance(text, str):
            raise InvalidInput(f"prompt must be text or a list of token ids, not {type(text).__name__}")
        # A template has the model's first token itself, where there is one.
        try:
            return list(self._tokenizer(text, add_special_tokens="prompt" in given)["input_ids"])
        except (TypeError, UnicodeError):
            raise InvalidInput("the prompt is no valid Unicode") from None

    def _chat(self, messages: Any) -> str:
        if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
            raise InvalidInput('messages must be a list of {"role": "...", "content": "..."}, one at least')
        try:
            text: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # noqa: BLE001 - a template is the model's, and raises what it likes
            raise InvalidInput(f"the model's chat template does not take these messages: {error}") from None
        return text

    def _stops_at(self, stop: tuple[str, ...]) -> Callable[[list[int]], bool]:
        if not stop:
            return lambda _: False
        most = _CHARACTER_BYTES * max(map(len, stop)) + _BEFORE_STOP

        def is_stop(tokens: list[int]) -> bool:
            # A token has one byte at least, not one character.
            text: str = self._tokenizer.decode(tokens[-most:], skip_special_tokens=True)
            return any(each in text for each in stop)

        return is_stop


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"role", "content"}
        and all(isinstance(each, str) for each in value.values())
    )
