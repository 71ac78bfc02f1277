"""CausalLMPlugin: any causal language model of transformers', by configuration alone."""

from collections.abc import Sequence as Several
from typing import Any, ClassVar

from pydantic import Field

from headrace.errors import HeadraceError, SetupFailed, WeightsError
from headrace.sdk.attention import AttentionNeed, PagedAttention
from headrace.sdk.config import BaseConfig
from headrace.sdk.continuous import CacheState, ContinuousPluginInterface, Cut
from headrace.sdk.dtypes import choose_dtype
from headrace.sdk.generation.attention import NAME
from headrace.sdk.generation.blocks import BLOCK_SIZE
from headrace.sdk.generation.generation import Generation
from headrace.sdk.generation.model import PagedModel
from headrace.sdk.generation.need import need_of
from headrace.sdk.generation.prompts import Prompts
from headrace.sdk.generation.sampling import SamplingParams
from headrace.sdk.generation.sequence import Finished, Request
from headrace.sdk.messages import Item, Outcome, Prepared
from headrace.sdk.paging import load_pretrained


class CausalLMConfig(BaseConfig):
    """What a user may set of a model that generates."""

    #: Tokens of a prompt and its text together; None for what the model was trained with.
    context: int | None = Field(default=None, ge=2)
    #: Sequences that generate at once.
    max_running: int = Field(default=32, ge=1)
    #: Tokens of one forward pass, those of prompts that join besides one of each sequence.
    step_tokens: int = Field(default=256, ge=1)


class CausalLMPlugin(ContinuousPluginInterface):
    """Generates text for prompts and chats."""

    config_class: ClassVar[type[BaseConfig]] = CausalLMConfig

    uses_attention: ClassVar[bool] = True

    config: CausalLMConfig
    attention: PagedAttention | None = None
    _model: PagedModel | None = None
    _prompts: Prompts | None = None
    _generation: Generation | None = None
    #: Of all that runs or waits, by their keys.
    _requests: dict[int, Request]

    def load_model(self) -> None:
        """Read tokenizer and weights."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if self.config.weights is None:
            raise WeightsError("the model has no weights: name them under [models.<name>.weights]")
        folder = self.config.weights.resolve()
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = load_pretrained(
            AutoModelForCausalLM,
            folder,
            dtype=choose_dtype(self.config.dtype, self.device),
            device=self.device,
            attn_implementation=self.attention.implementation if self.attention else NAME,
        )
        self._model = PagedModel(model)
        self._requests = {}
        self._generation = Generation(
            self._model,
            blocks=0,
            most=self.config.max_running,
            step_tokens=self.config.step_tokens,
            ends=_ends_of(model.generation_config.eos_token_id),
        )
        context = min(self.config.context or self._model.context, self._model.context)
        self._prompts = Prompts(tokenizer, vocabulary=self._model.vocabulary, context=context)

    def attention_need(self) -> AttentionNeed:
        """Causal attention over a paged cache, for heads as the model's are."""
        return need_of(self.config.weights)

    def prepare(self, items: Several[Item]) -> list[Prepared]:
        """Encode prompts; the size of an item is the tokens that it may have in the end."""
        return [self._prepare(item) for item in items]

    def _prepare(self, item: Item) -> Prepared:
        try:
            request = self._loaded_prompts.request(item.input, item.params)
        except HeadraceError as error:
            return Prepared(params=item.params, error=error)
        size = len(request.prompt) + request.params.max_tokens
        return Prepared(size=size, data=request, params=item.params)

    # -- items that run

    @property
    def concurrency(self) -> int:
        """Sequences that generate at once."""
        return self.config.max_running

    def add(self, key: int, item: Prepared) -> None:
        """Line a prompt up."""
        self._generating.add(key, item.data)
        self._requests[key] = item.data

    def step(self) -> list[tuple[int, Outcome]]:
        """One forward pass."""
        return [(each.key, self._outcome(each)) for each in self._generating.step()]

    def cancel(self, key: int, cut: Cut) -> Outcome | None:
        """End a text with what there is."""
        finished = self._generating.cancel(key, cut)
        return self._outcome(finished) if finished else None

    @property
    def progress(self) -> dict[int, int]:
        """Tokens of each text so far."""
        return self._generating.progress

    @property
    def cache(self) -> CacheState:
        """Bytes of keys and values."""
        generation = self._generating
        held, wanted, least = (
            count * self._block_bytes for count in (generation.blocks, generation.wanted, generation.least)
        )
        return CacheState(held=held, wanted=wanted, least=least)

    def resize(self, count: int) -> None:
        """Have as many blocks as so many bytes are."""
        self._generating.resize(count // self._block_bytes)

    @property
    def _block_bytes(self) -> int:
        return BLOCK_SIZE * self._loaded_model.kv_shape.token_bytes

    def _outcome(self, finished: Finished) -> Outcome:
        request = self._requests.pop(finished.key)
        if finished.error is not None:
            return Outcome(error=finished.error)
        output: dict[str, Any] = {
            "text": self._loaded_prompts.text(finished.tokens, request.params.stop),
            "tokens": finished.tokens,
            "finish_reason": finished.reason,
            "usage": {"prompt_tokens": finished.prompt_tokens, "completion_tokens": len(finished.tokens)},
        }
        if request.params.logprobs is not None:
            output["logprobs"] = [{"logprob": own, "top": best} for own, best in finished.logprobs]
        return Outcome(output=output)

    def cleanup(self) -> None:
        """Drop weights, tokenizer and cache."""
        self._model = self._prompts = self._generation = None
        self._requests.clear()

    def sample(self, size: int) -> Prepared:
        """A prompt of so many tokens, and one token more: what takes longer needs no more memory."""
        count = max(2, min(size, self._loaded_prompts.context))
        request = Request(prompt=[0] * (count - 1), params=SamplingParams(max_tokens=1))
        return Prepared(size=count, data=request)

    @property
    def _loaded_model(self) -> PagedModel:
        if self._model is None:
            raise SetupFailed("the model is used before load_model")
        return self._model

    @property
    def _generating(self) -> Generation:
        if self._generation is None:
            raise SetupFailed("the model is used before load_model")
        return self._generation

    @property
    def _loaded_prompts(self) -> Prompts:
        if self._prompts is None:
            raise SetupFailed("the model is used before load_model")
        return self._prompts


def _ends_of(told: int | list[int] | None) -> list[int]:
    if told is None:
        return []
    return told if isinstance(told, list) else [told]
