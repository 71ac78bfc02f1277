"""A causal language model by configuration alone keeps the contract of every plugin."""

from pathlib import Path
from typing import ClassVar

import pytest

from headrace.sdk import Item
from headrace.sdk.testing import PluginContract
from tests.utils.language_models import write_model, write_tokenizer


class TestCausalLM(PluginContract):
    manifest_path = Path(__file__).parents[4] / "plugin_pkgs" / "causal_lm" / "plugin_manifest.json"
    good_items = (
        Item(input={"prompt": "The mill wheel"}, params={"max_tokens": 12}),
        Item(input={"prompt": [5, 6, 7]}, params={"max_tokens": 3, "logprobs": 1}),
        Item(
            input={"messages": [{"role": "user", "content": "¿Dónde está la acequia? 水車"}]}, params={"max_tokens": 5}
        ),
        Item(input={"prompt": "a"}, params={"temperature": 0.7, "seed": 3, "top_p": 0.9, "max_tokens": 9, "stop": "e"}),
    )
    bad_items: ClassVar = (
        {},
        {"prompt": ""},
        {"prompt": []},
        {"prompt": [2000]},
        {"prompt": [-1]},
        {"prompt": [True]},
        {"prompt": ["a"]},
        {"prompt": 5},
        {"prompt": "\ud800"},
        {"prompt": "a", "messages": []},
        {"messages": []},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"prompt": "a", "text": "b"},
        "a bare string",
        None,
        Item(input={"prompt": "a"}, params={"max_tokens": 0}),
        Item(input={"prompt": "a"}, params={"max_tokens": 10**9}),
        Item(input={"prompt": "a"}, params={"no_such": 1}),
        Item(input={"prompt": "a" * 600}, params={"max_tokens": 1}),
    )

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def weights(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = write_tokenizer(write_model(tmp_path_factory.mktemp("weights"), width=64))
        cls.overrides = {"weights": {"path": str(folder)}, "dtype": "float32", "context": 512}
