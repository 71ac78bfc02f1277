"""Paged strategies: each gives the texts that torch's own gives, however the cache's blocks lie."""

import copy
import random
import sys
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402  needs torch

from headrace.attention.paged_eager import PagedEagerAttention  # noqa: E402
from headrace.attention.paged_flash import PagedFlashAttention  # noqa: E402
from headrace.sdk import PagedAttention  # noqa: E402
from headrace.sdk.generation.attention import NAME  # noqa: E402
from headrace.sdk.generation.generation import Generation  # noqa: E402
from headrace.sdk.generation.model import PagedModel  # noqa: E402
from headrace.sdk.generation.sampling import SamplingParams  # noqa: E402
from headrace.sdk.generation.sequence import Request  # noqa: E402

CONFIG = LlamaConfig(
    vocab_size=300,
    hidden_size=96,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=256,
)


def flash_attn_varlen_func(q: Any, k: Any, v: Any, *bounds: Any, **options: Any) -> Any:
    """What flash-attn's documentation says of it, computed plainly: causal is aligned to the bottom right."""
    q_bounds, k_bounds, q_longest, k_longest = bounds
    assert (q_bounds.dtype, k_bounds.dtype, options["causal"]) == (torch.int32, torch.int32, True)
    starts = [list(pairwise(each.tolist())) for each in (q_bounds, k_bounds)]
    assert [max(end - begin for begin, end in each) for each in starts] == [q_longest, k_longest]
    assert (q_bounds[-1], k_bounds[-1]) == (len(q), len(k))
    out = torch.empty_like(q)
    for (q_begin, q_end), (k_begin, k_end) in zip(*starts, strict=True):
        count, total = q_end - q_begin, k_end - k_begin
        repeats = q.shape[1] // k.shape[1]
        keys, values = (each[k_begin:k_end].repeat_interleave(repeats, 1) for each in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q[q_begin:q_end], keys) * options["softmax_scale"]
        seen = torch.ones(count, total, dtype=torch.bool).tril(total - count)
        shares = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        out[q_begin:q_end] = torch.einsum("hqk,khd->qhd", shares, values)
    return out


@pytest.fixture(params=["eager", "flash 2", "flash 3"])
def strategy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PagedAttention:
    if request.param == "eager":
        return PagedEagerAttention()
    for package in ("flash_attn", "flash_attn_interface"):
        module = ModuleType(package)
        module.flash_attn_varlen_func = flash_attn_varlen_func
        monkeypatch.setitem(sys.modules, package, module)
    return PagedFlashAttention(int(request.param[-1]))


def _texts(implementation: str, blocks: int) -> dict[int, list[int]]:
    torch.manual_seed(0)
    config: Any = copy.deepcopy(CONFIG)
    model: Any = LlamaForCausalLM._from_config(config, attn_implementation=implementation)
    generation = Generation(PagedModel(model.eval()), blocks=blocks, most=6, step_tokens=24, ends=[])
    chance = random.Random(3)  # noqa: S311  not for secrets
    for key in range(12):
        prompt = [chance.randrange(300) for _ in range(chance.randint(1, 60))]
        generation.add(key, Request(prompt=prompt, params=SamplingParams(max_tokens=chance.randint(1, 30))))
    finished = {}
    while generation.keys:
        finished |= {each.key: each for each in generation.step()}
    assert all(each.error is None for each in finished.values())
    return {key: each.tokens for key, each in finished.items()}


# With 9 blocks some sequences make room and come back, into blocks that are no run.
@pytest.mark.parametrize("blocks", [60, 9])
def test_texts_are_those_of_torchs_own(strategy: PagedAttention, blocks: int) -> None:
    assert _texts(strategy.implementation, blocks) == _texts(NAME, blocks)


def test_a_step_that_is_over_is_not_held(strategy: PagedAttention) -> None:
    import gc

    from headrace.sdk.generation.cache import KVCache

    _texts(strategy.implementation, 60)
    gc.collect()
    assert not any(type(each) is KVCache for each in gc.get_objects())


@pytest.mark.gpu
@pytest.mark.parametrize(("version", "package"), [(2, "flash_attn"), (3, "flash_attn_interface")])
def test_flash_attn_itself_agrees_with_plain_products(version: int, package: str) -> None:
    pytest.importorskip(package)
    from headrace.sdk.generation.attention import Span, Step
    from headrace.sdk.generation.cache import KVCache, KVShape

    device = torch.device("cuda")
    shape = KVShape(layers=1, kv_heads=2, head_dim=64, dtype=torch.bfloat16, device=device)
    cache = KVCache(shape, blocks=20, block_size=16)
    cache.layers[0].keys.normal_()
    cache.layers[0].values.normal_()
    spans = [Span(0, 1, 40, cache.place([3, 4, 5])), Span(1, 8, 25, cache.place([9, 2, 7]))]
    step = Step(cache, spans, torch.zeros(8, dtype=torch.long, device=device))
    query = torch.randn(8, 6, 64, dtype=torch.bfloat16, device=device)
    strategies = PagedFlashAttention(version), PagedEagerAttention()
    own, plain = (each.attend(cache.layers[0], query, step, 0.125) for each in strategies)
    torch.testing.assert_close(own, plain, rtol=0.02, atol=0.02)
