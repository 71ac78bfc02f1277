"""Claim: one message that a worker has taken out of its queue."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """One message, and its number among those of its incarnation."""

    incarnation: str
    number: int
    #: The list that it came from, without a prefix.
    queue: str
    #: The message as the producer's transport wrote it.
    payload: bytes

    @property
    def tag(self) -> str:
        """A delivery tag unlike any that another worker or incarnation gives."""
        return f"{self.incarnation}:{self.number}"


class LeaseLost(Exception):
    """The lease has run out: what was claimed under it may be running elsewhere."""
