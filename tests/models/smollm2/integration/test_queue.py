"""SmolLM2 from the command line: a chat in a line, with its parameters beside it."""

import json
from pathlib import Path

import pytest

from tests.integration.cluster import isolated_settings
from tests.integration.commands import headrace

pytestmark = pytest.mark.integration


def _chat(text: str, **beside: object) -> str:
    return json.dumps({"custom_id": text, "messages": [{"role": "user", "content": text}], **beside})


def test_a_chat_in_a_file_is_answered_and_a_bad_one_fails_alone(weights: Path, tmp_path: Path) -> None:
    lines = [
        _chat("What is the capital of France?"),
        _chat("Tell me a story.", max_tokens=3),
        _chat("Too much", max_tokens=10**6),
        json.dumps({"custom_id": "plain", "prompt": "One, two, three,", "max_tokens": 4}),
        json.dumps({"custom_id": "empty", "prompt": ""}),
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    with isolated_settings(tmp_path):
        done = headrace("run", "-i", tmp_path / "q.jsonl", "-o", tmp_path / "a.jsonl", "--model", "smollm2")
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    told = {row["custom_id"]: row["output"] or row["error"]["code"] for row in rows}
    assert told["What is the capital of France?"]["text"] == "The capital of France is Paris."
    assert told["Tell me a story."]["usage"]["completion_tokens"] == 3
    assert told["Tell me a story."]["finish_reason"] == "length"
    assert told["plain"]["text"].strip().startswith("four")
    assert (told["Too much"], told["empty"]) == ("invalid_input", "invalid_input")
