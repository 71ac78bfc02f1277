"""Check: one thing that `headrace doctor` looked at."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a thing stands."""

    OK = "ok"
    #: Works without it, for some purpose.
    MISSING = "missing"
    #: Set, and has no effect.
    IGNORED = "ignored"
    #: Needed here, and does not work.
    BROKEN = "broken"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What was found, and how to mend it."""

    name: str
    verdict: Verdict
    #: Version, place or number: what was found.
    found: str
    #: What to do; empty if nothing is wrong.
    mend: str = ""


def ok(name: str, found: str) -> Check:
    """A thing that works."""
    return Check(name=name, verdict=Verdict.OK, found=found)


def missing(name: str, found: str, mend: str) -> Check:
    """A thing that some purpose needs."""
    return Check(name=name, verdict=Verdict.MISSING, found=found, mend=mend)


def ignored(name: str, found: str, mend: str) -> Check:
    """A thing that is set in vain."""
    return Check(name=name, verdict=Verdict.IGNORED, found=found, mend=mend)


def broken(name: str, found: str, mend: str) -> Check:
    """A thing that must be mended."""
    return Check(name=name, verdict=Verdict.BROKEN, found=found, mend=mend)
