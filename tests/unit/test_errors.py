"""Errors: each has a code of its own and survives the wire."""

import re

import pytest

from headrace import errors
from headrace.errors import HeadraceError, InferenceFailed, ResultTimeout, describe, error_from_name, error_from_wire

#: Everything in the file, without what tests of other files may have derived.
ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, HeadraceError)]


def _drawn() -> dict[str, tuple[str, str]]:
    """Each error's parent and code in the tree of the module's docstring."""
    assert errors.__doc__
    drawn: dict[str, tuple[str, str]] = {}
    above: list[tuple[int, str]] = []
    for match in filter(None, (re.match(r"( {4}[ |+-]*)(\w+) +(\w+)", line) for line in errors.__doc__.splitlines())):
        above = [(depth, name) for depth, name in above if depth < len(match[1])]
        drawn[match[2]] = (above[-1][1] if above else "Exception", match[3])
        above.append((len(match[1]), match[2]))
    return drawn


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert _drawn() == {each.__name__: (each.__bases__[0].__name__, each.code) for each in ALL}


def test_no_two_errors_share_a_code() -> None:
    assert len({each.code for each in ALL}) == len(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_an_error_survives_the_wire(kind: type[HeadraceError]) -> None:
    wire = kind("what happened").to_wire()
    assert wire == {"code": kind.code, "message": "what happened"}
    back = error_from_wire(wire)
    assert (type(back), str(back), back.code, back.retryable) == (kind, "what happened", kind.code, kind.retryable)


@pytest.mark.parametrize("kind", ALL)
def test_an_error_survives_celerys_way_of_storing_it(kind: type[HeadraceError]) -> None:
    back = error_from_name(kind.__name__, "what happened")
    assert (type(back), str(back)) == (kind, "what happened")


def test_a_plugins_own_code_is_kept_and_changes_no_class() -> None:
    back = error_from_wire({"code": "out_of_tokens", "message": "none left"})
    assert (type(back), back.code, str(back)) == (HeadraceError, "out_of_tokens", "none left")
    assert HeadraceError.code == "internal_error"
    assert back.to_wire() == {"code": "out_of_tokens", "message": "none left"}


def test_an_error_that_is_not_ours_keeps_its_name() -> None:
    back = error_from_name("ZeroDivisionError", "by zero")
    assert (type(back), str(back), back.code) == (HeadraceError, "ZeroDivisionError: by zero", "internal_error")


def test_only_a_broker_that_is_away_or_full_is_worth_another_try() -> None:
    assert [each.code for each in ALL if each.retryable] == ["broker_unavailable", "queue_full"]


def test_a_message_is_not_needed_on_the_wire() -> None:
    back = error_from_wire({"code": "inference_failed"})
    assert (type(back), str(back)) == (InferenceFailed, "")


def test_a_result_that_does_not_come_is_caught_as_a_timeout_too() -> None:
    with pytest.raises(TimeoutError):
        raise ResultTimeout("not yet")


class Mute(InferenceFailed):
    """Some plugin's error."""

    def __str__(self) -> str:
        raise KeyError


def test_an_error_whose_message_cannot_be_had_is_told_all_the_same() -> None:
    assert describe(Mute()) == "Mute: (its message cannot be had: __str__ raised KeyError)"
    assert "KeyError" in Mute().to_wire()["message"]
