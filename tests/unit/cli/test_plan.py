"""`headrace plan` finds the engine's answer among what plugins print."""

import pytest

from headrace.cli.plan import _answer, _size


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", None),
        (b"loading\n[1]\n", None),
        (b'{"loss": 1}\n', None),
        (b'loading\n{"error": {"code": "c"}}\nbye\n', {"error": {"code": "c"}}),
        (b'{"model": "m", "batches": []}\n{"closed": true}\n\xff', {"model": "m", "batches": []}),
    ],
)
def test_the_answer_is_what_has_its_form(said: bytes, told: object) -> None:
    assert _answer(said) == told


def test_sizes_are_decimal_or_binary() -> None:
    assert (_size("8 GB"), _size("1MiB"), _size("1"), _size("")) == (8 * 10**9, 2**20, 1, None)
