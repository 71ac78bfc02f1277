"""Small language models with random weights, in the files that a real one comes in."""

from pathlib import Path
from typing import Any

#: Numbers in the weights of `write_model`, about: six layers, and an embedding that is the output layer too.
TOKENS = 2000


def write_model(folder: Path, *, width: int = 512, dtype: str = "float32", experts: int = 0) -> Path:
    """Write a causal language model of six layers with seeded weights.

    Args:
        folder: Where.
        width: Of its hidden state; 512 gives 61 MB in float32.
        dtype: In which the weights are stored.
        experts: Of each layer, 0 for a model without; their weights are merged at load.
    """
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3MoeConfig

    common: dict[str, Any] = {
        "vocab_size": TOKENS,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "tie_word_embeddings": True,
    }
    config = (
        Qwen3MoeConfig(**common, num_experts=experts, num_experts_per_tok=2, moe_intermediate_size=width // 2)
        if experts
        else Qwen3Config(**common)
    )
    auto_class: Any = AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = auto_class.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path) -> Path:
    """Write a tokenizer of bytes with a chat template beside a model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|turn|>", "<|end|>", *alphabet]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    turn = "<|turn|>{{ each['role'] }} {{ each['content'] }}<|end|>"
    template = "{% for each in messages %}" + turn + "{% endfor %}<|turn|>assistant "
    marks = {"bos_token": words[0], "eos_token": words[1]}
    fast: Any = PreTrainedTokenizerFast
    made = fast(tokenizer_object=tokenizer, chat_template=template, **marks)
    made.save_pretrained(folder)
    return folder
