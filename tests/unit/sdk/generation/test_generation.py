"""Generation: whatever joins, leaves, fails or makes room, each text is the one that it would be alone."""

import copy
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, Qwen3Config, Qwen3ForCausalLM

from headrace.errors import InferenceFailed, OutOfMemory
from headrace.sdk.generation.attention import NAME
from headrace.sdk.generation.blocks import BLOCK_SIZE
from headrace.sdk.generation.cache import KVCache
from headrace.sdk.generation.generation import PATIENCE, Generation
from headrace.sdk.generation.model import PagedModel, unsupported
from headrace.sdk.generation.sampling import SamplingParams
from headrace.sdk.generation.sequence import Finished, Request
from headrace.sdk.generation.sequence import Sequence as Running
from tests.utils.clock import Clock

VOCABULARY = 500
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 96,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}


class Pair:
    """The same weights twice: as transformers runs them, and paged."""

    def __init__(self, config: Any, kind: Any) -> None:
        torch.manual_seed(0)
        self.plain = kind._from_config(copy.deepcopy(config)).eval()
        own = kind._from_config(copy.deepcopy(config), attn_implementation=NAME).eval()
        own.load_state_dict(self.plain.state_dict())
        self.paged = PagedModel(own)

    def alone(self, request: Request) -> list[int]:
        """What `generate` gives for a prompt by itself."""
        most = request.params.max_tokens
        prompt = torch.tensor([request.prompt])
        # Without a mask `generate` takes tokens of the padding's number for padding.
        every = torch.ones_like(prompt)
        ids = self.plain.generate(prompt, attention_mask=every, max_new_tokens=most, do_sample=False, eos_token_id=None)
        return [int(each) for each in ids[0, len(request.prompt) :]]

    def is_tie(self, request: Request, one: Sequence[int], other: Sequence[int]) -> bool:
        """Whether two texts part where the two likeliest tokens are as good as equal."""
        at = next(place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
        with torch.inference_mode():
            logits = self.plain(torch.tensor([[*request.prompt, *one[:at]]])).logits[0, -1]
        best = torch.topk(logits, 2).values
        return float(best[0] - best[1]) < 1e-4


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def pair(request: pytest.FixtureRequest) -> Pair:
    if request.param == "llama":
        return Pair(LlamaConfig(**_SIZES), LlamaForCausalLM)
    return Pair(Qwen3Config(**_SIZES), Qwen3ForCausalLM)


def _generation(pair: Pair, *, blocks: int = 200, most: int = 16, step_tokens: int = 48, **options: Any) -> Generation:
    return Generation(pair.paged, blocks=blocks, most=most, step_tokens=step_tokens, ends=[], **options)


def _requests(count: int, seed: int = 1, longest: int = 70) -> list[Request]:
    chance = random.Random(seed)  # noqa: S311  not for secrets
    return [
        Request(
            prompt=[chance.randrange(VOCABULARY) for _ in range(chance.randint(1, longest))],
            params=SamplingParams(max_tokens=chance.randint(1, 30)),
        )
        for _ in range(count)
    ]


def _run_out(generation: Generation) -> dict[int, Finished]:
    finished: dict[int, Finished] = {}
    for _ in range(5000):
        if not generation.keys:
            assert generation.free_blocks == generation.blocks
            return finished
        finished |= {each.key: each for each in generation.step()}
    raise AssertionError("it does not end")


def _check(pair: Pair, requests: Sequence[Request], finished: dict[int, Finished], keys: Sequence[int]) -> None:
    """Each text is the one alone; one of 64 may part from it where two tokens are as likely."""
    assert [finished[key].error for key in keys] == [None] * len(keys)
    parted = [key for key in keys if finished[key].tokens != pair.alone(requests[key])]
    assert len(parted) <= 1
    assert all(pair.is_tie(requests[key], finished[key].tokens, pair.alone(requests[key])) for key in parted)


def test_texts_of_many_are_those_of_each_alone(pair: Pair) -> None:
    requests, generation = _requests(64), _generation(pair)
    for key, request in enumerate(requests):
        generation.add(key, request)
    finished = _run_out(generation)
    _check(pair, requests, finished, range(64))
    assert {each.reason for each in finished.values()} == {"length"}
    assert all(finished[key].prompt_tokens == len(requests[key].prompt) for key in range(64))


def test_who_joins_late_who_is_cancelled_and_who_makes_room_change_no_text(pair: Pair) -> None:
    # Far too few blocks for those that run at once: somebody is thrown out again and again.
    requests, generation = _requests(64), _generation(pair, blocks=24)
    finished: dict[int, Finished] = {}
    for key, request in enumerate(requests):
        generation.add(key, request)
        finished |= {each.key: each for each in generation.step()}
        if key % 9 == 5:
            generation.cancel(key)
            finished.pop(key, None)
    cancelled = {key for key in range(64) if key % 9 == 5}
    finished |= _run_out(generation)
    _check(pair, requests, finished, sorted(set(range(64)) - cancelled))
    assert not cancelled & set(finished)


def test_half_the_cache_goes_while_all_run_and_no_text_changes(pair: Pair) -> None:
    requests, generation = _requests(32), _generation(pair, blocks=120, most=32)
    for key, request in enumerate(requests):
        generation.add(key, request)
    finished = {each.key: each for _ in range(8) for each in generation.step()}
    before = generation.progress
    generation.resize(60)
    assert generation.progress == before
    assert generation.free_blocks < 60
    finished |= _run_out(generation)
    _check(pair, requests, finished, range(32))
    assert generation.blocks == 60


def test_cancelling_frees_the_blocks_at_once_and_tells_what_there_is(pair: Pair) -> None:
    generation = _generation(pair)
    generation.add(1, Request(prompt=[3] * 40, params=SamplingParams(max_tokens=50)))
    for _ in range(5):
        generation.step()
    assert generation.free_blocks == generation.blocks - 3
    assert generation.progress == {1: 5}
    finished = generation.cancel(1, "deadline")
    assert finished is not None
    assert (finished.reason, len(finished.tokens), generation.free_blocks) == ("deadline", 5, generation.blocks)
    assert generation.cancel(1) is None


def test_a_text_ends_where_the_model_or_the_job_says(pair: Pair) -> None:
    request = Request(prompt=[5, 6, 7], params=SamplingParams(max_tokens=12))
    alone = pair.alone(request)
    ends = Generation(pair.paged, blocks=9, most=4, step_tokens=16, ends=[alone[3]])
    ends.add(1, request)
    first = alone.index(alone[3])
    assert _run_out(ends)[1].tokens == alone[: first + 1]
    stops = _generation(pair)
    stops.add(1, Request(prompt=[5, 6, 7], params=request.params, is_stop=lambda tokens: len(tokens) == 2))
    finished = _run_out(stops)[1]
    assert (finished.tokens, finished.reason) == (alone[:2], "stop")


def test_log_probabilities_are_those_of_the_tokens(pair: Pair) -> None:
    generation = _generation(pair)
    generation.add(1, Request(prompt=[5, 6, 7], params=SamplingParams(max_tokens=3, logprobs=2)))
    finished = _run_out(generation)[1]
    for token, (own, best) in zip(finished.tokens, finished.logprobs, strict=True):
        assert best[0] == (token, own)
        assert best[0][1] >= best[1][1]


def test_one_that_can_never_fit_fails_alone_and_so_does_one_that_no_longer_fits(pair: Pair) -> None:
    generation = _generation(pair, blocks=4)
    generation.add(1, Request(prompt=[1] * 60, params=SamplingParams(max_tokens=10)))
    assert generation.least == 5
    (giant,) = generation.step()
    assert (giant.key, type(giant.error), "KV cache" in str(giant.error)) == (1, OutOfMemory, True)
    generation.add(2, Request(prompt=[1] * 30, params=SamplingParams(max_tokens=30)))
    generation.add(3, Request(prompt=[1] * 8, params=SamplingParams(max_tokens=8)))
    generation.step()
    generation.resize(2)
    finished = _run_out(generation)
    assert isinstance(finished[2].error, OutOfMemory)
    assert finished[3].error is None


def test_the_cache_grows_from_nothing_to_what_is_wanted(pair: Pair) -> None:
    requests, generation = _requests(8), _generation(pair, blocks=0)
    for key, request in enumerate(requests):
        generation.add(key, request)
    generation.resize(generation.least)
    finished = {each.key: each for _ in range(5) for each in generation.step()}
    generation.resize(generation.wanted)
    finished |= _run_out(generation)
    _check(pair, requests, finished, range(8))


class Bad(PagedModel):
    """Fails for every pass in which a token runs that is bad."""

    def __init__(self, pair: Pair, error: BaseException) -> None:
        super().__init__(pair.paged._model)
        self.error = error

    def run(self, cache: KVCache, sequences: Sequence[Running], counts: Sequence[int]) -> torch.Tensor:
        """As the model, if nothing is bad."""
        if any(13 in each.tokens for each in sequences):
            raise self.error
        return super().run(cache, sequences, counts)


@pytest.mark.parametrize("error", [ValueError("bad token"), MemoryError("no memory"), InferenceFailed("own")])
def test_who_makes_a_pass_fail_fails_alone(pair: Pair, error: Exception) -> None:
    requests = [each for each in _requests(51, seed=5) if 13 not in each.prompt]
    guilty = len(requests) // 2
    requests[guilty] = Request(prompt=[13], params=SamplingParams(max_tokens=4))
    alone = {key: pair.alone(each) for key, each in enumerate(requests)}
    generation = Generation(Bad(pair, error), blocks=200, most=16, step_tokens=48, ends=[])
    for key, request in enumerate(requests):
        generation.add(key, request)
    finished = _run_out(generation)
    failed = {key for key, each in finished.items() if each.error}
    assert guilty in failed
    assert failed == {key for key, tokens in alone.items() if 13 in tokens[:-1] or key == guilty}
    assert isinstance(finished[guilty].error, InferenceFailed)
    assert finished[guilty].error is error or finished[guilty].error.__cause__ is error


def test_a_long_prompt_is_passed_for_a_while_and_not_for_ever(pair: Pair) -> None:
    clock = Clock()
    generation = _generation(pair, blocks=10, clock=clock)
    generation.add(0, Request(prompt=[1] * 4 * BLOCK_SIZE, params=SamplingParams(max_tokens=30)))
    generation.step()
    generation.add(1, Request(prompt=[1] * 7 * BLOCK_SIZE, params=SamplingParams(max_tokens=2)))
    generation.add(2, Request(prompt=[1], params=SamplingParams(max_tokens=30)))
    generation.step()
    assert generation.progress[2] == 1
    clock.now += PATIENCE
    generation.add(3, Request(prompt=[1], params=SamplingParams(max_tokens=2)))
    for _ in range(3):
        generation.step()
    assert generation.progress[3] == 0
    assert set(_run_out(generation)) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 1}, "layers of sliding_attention"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layers of linear_attention"),
        ({}, ""),
    ],
)
def test_a_model_with_another_kind_of_attention_is_refused(options: dict[str, Any], problem: str) -> None:
    assert problem in unsupported(Qwen3Config(**_SIZES, **options), plain=True)
    assert bool(problem) == bool(unsupported(Qwen3Config(**_SIZES, **options), plain=True))


def test_a_model_that_attends_in_its_own_way_or_within_a_window_is_refused() -> None:
    assert "cannot be replaced" in unsupported(LlamaConfig(**_SIZES), plain=False)
    assert "see 64 tokens only" in unsupported(MistralConfig(**_SIZES, sliding_window=64), plain=True)
