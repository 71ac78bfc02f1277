"""Depth: how many jobs of a model wait, at whatever urgency."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace.broker.app import DEAD, INFER
from headrace.broker.connection import Server
from headrace.broker.options import SUFFIXES


@dataclass(frozen=True, kw_only=True, slots=True)
class Depth:
    """The lists of one model."""

    #: Jobs that no worker has claimed; those put aside until their time are not among them.
    waiting: int
    #: Messages that were put aside for good.
    dead: int


def depths(client: Server, models: Iterable[str]) -> Mapping[str, Depth]:
    """The depth of each model, in one round trip."""
    names = list(models)
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            for suffix in SUFFIXES.values():
                pipe.llen(client.key(INFER + name + suffix))
            pipe.llen(client.key(DEAD + name))
        lengths = iter(pipe.execute())
    return {name: Depth(waiting=sum(next(lengths) for _ in SUFFIXES), dead=next(lengths)) for name in names}
