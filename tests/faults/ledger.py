"""Ledger: what was submitted, which executions were begun, and every settlement that the server's own log holds."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import redis

from headrace.broker.results import result_key
from headrace.broker.waiter import decode

_FINAL = {"SUCCESS", "FAILURE", "REVOKED"}
_SET = {b"SET", b"SETEX", b"PSETEX"}
_RESULT = result_key("").encode()


@dataclass(kw_only=True, slots=True)
class Ledger:
    """What was seen of each job."""

    submitted: set[str] = field(default_factory=set)
    #: The first outcome seen of each job, and those that had another one later.
    outcomes: dict[str, Any] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    #: How often each input was begun, and each job's result was written.
    executions: Counter[str] = field(default_factory=Counter)
    settlements: Counter[str] = field(default_factory=Counter)
    #: Jobs whose result was written by a worker that had not claimed them any more.
    unfenced: set[str] = field(default_factory=set)
    acts: Counter[str] = field(default_factory=Counter)

    @property
    def unanswered(self) -> set[str]:
        """Jobs without an outcome."""
        return self.submitted - self.outcomes.keys()

    @property
    def settled_twice(self) -> set[str]:
        """Jobs whose result was written more than once."""
        return {job_id for job_id in self.submitted if self.settlements[job_id] > 1}

    @property
    def succeeded(self) -> int:
        """Jobs with an output."""
        return sum(meta["status"] == "SUCCESS" for meta in self.outcomes.values())

    @property
    def repeated(self) -> int:
        """Jobs that ran more than once."""
        return sum(count > 1 for count in self.executions.values())

    @property
    def kills(self) -> int:
        """Kills of a worker or an engine that had claimed jobs."""
        return self.acts["busy worker killed"] + self.acts["engine of a busy worker killed"]

    def look(self, client: redis.Redis) -> None:
        """Read all outcomes; note what is new, and what is not as it was."""
        job_ids = sorted(self.submitted)
        for start in range(0, len(job_ids), 500):
            group = job_ids[start : start + 500]
            values: Any = client.mget([result_key(job_id) for job_id in group])
            for job_id, value in zip(group, values, strict=True):
                if value is not None and (meta := decode(job_id, value))["status"] in _FINAL:
                    first = self.outcomes.setdefault(job_id, meta)
                    if first != meta:
                        self.changed.add(job_id)

    def count_executions(self, path: Path) -> None:
        """Read which inputs were begun, and how often."""
        if path.exists():
            self.executions = Counter(path.read_text().split())

    def count_settlements(self, folder: Path) -> None:
        """Read from the append-only files of the server how often each result was written, and by whom not."""
        for file in sorted(folder.glob("**/*.incr.aof")):
            with file.open("rb") as stream:
                for change in _changes(stream):
                    self._note(change)

    def _note(self, change: Sequence[list[bytes]]) -> None:
        """Note what one script or one command has done: each result goes with a claim that is dropped."""
        written: list[str] = []
        for words in change:
            if words[0].upper() in _SET and words[1].startswith(_RESULT):
                written.append(words[1].removeprefix(_RESULT).decode())
            elif words[0].upper() == b"HDEL" and words[1].startswith(b"headrace:claims:") and written:
                self.settlements[written.pop()] += 1
        self.settlements.update(written)
        self.unfenced.update(written)


def _changes(stream: BinaryIO) -> Iterator[list[list[bytes]]]:
    """Commands that were executed in one go."""
    change: list[list[bytes]] = []
    inside = False
    for words in _commands(stream):
        name = words[0].upper()
        if name in {b"MULTI", b"EXEC"}:
            inside = name == b"MULTI"
        else:
            change.append(words)
        if not inside:
            yield change
            change = []


def _commands(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Commands in an append-only file; the last may be cut short."""
    while (head := stream.readline()).startswith(b"*"):
        words = []
        for _ in range(int(head[1:])):
            length = stream.readline()
            if not length.startswith(b"$"):
                return
            words.append(stream.read(int(length[1:])))
            stream.readline()
        yield words
