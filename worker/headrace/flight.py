"""Flight: the jobs of one mapping, from just before they are sent until their results are read."""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any

import redis

from headrace.broker.app import INFER
from headrace.broker.connection import Server, broker_errors
from headrace.broker.options import SUFFIXES, SendOptions
from headrace.broker.registry import Registry
from headrace.broker.sender import Sender
from headrace.broker.sent import Sent
from headrace.broker.waiter import Meta, ResultWaiter
from headrace.broker.withdraw import withdraw
from headrace.errors import BrokerUnavailable, ClientClosed, JobLost

#: Seconds that workers get to drop the jobs of a mapping that ends early.
_ABANDON_SECONDS = 3.0
_LOST = "Redis has neither job {} nor a result of it any more (was it flushed, or its queue purged?): send it again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Flight:
    """Sends chunks of one model and takes back what nobody will read."""

    model: str
    options: SendOptions
    client: Server
    url: str
    sender: Sender
    waiter: ResultWaiter
    #: Cancels jobs wherever they are.
    revoke: Callable[[Sequence[str]], None]
    #: What was sent and not read.
    sent: Sent = field(default_factory=Sent)

    def expect(self, job_id: str) -> Future[Meta]:
        """A future for a job that is about to be sent."""
        return self.waiter.expect([job_id])[0]

    def send(self, job_id: str, values: list[Any]) -> None:
        """Send a chunk.

        Raises:
            QueueFull: If too many jobs of the model wait.
            BrokerUnavailable: If Redis does not take it.
        """
        message = self.sender.message(self.model, job_id, values, self.options)
        self.sender.send_message(self.model, message, self.options)
        self.sent.add(job_id, message)

    def seek(self, job_ids: Sequence[str]) -> None:
        """Answer those that Redis has lost: their inputs fail with JobLost."""
        # For a Redis that is away the waiter has a limit of its own.
        with contextlib.suppress(redis.RedisError):
            for job_id in self.sent.lost(self.client, self.model, job_ids):
                self.waiter.give_up(job_id, JobLost(_LOST.format(job_id)))

    def count_workers(self) -> int:
        """How many workers serve the model; 0 while Redis is away."""
        with contextlib.suppress(BrokerUnavailable), broker_errors(self.url):
            return len(Registry(self.client).serving(self.model))
        return 0

    def concurrency(self) -> int:
        """How many items a worker runs at once that answers them one by one; 0 for none, and while Redis is away."""
        with contextlib.suppress(BrokerUnavailable), broker_errors(self.url):
            served = [each.served.get(self.model) for each in Registry(self.client).serving(self.model)]
            # A worker of another version may not tell it.
            return max((each.get("concurrency", 0) for each in served if each), default=0)
        return 0

    def discard(self, job_ids: Sequence[str]) -> None:
        """Delete results that were read."""
        self.sent.forget(job_ids)
        # What is not deleted now expires.
        with contextlib.suppress(BrokerUnavailable), broker_errors(self.url):
            self.waiter.discard(job_ids)

    def abandon(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs that nobody will read, and give workers a moment to drop them."""
        # A broker that is away, or a client that was closed, must not hide why the caller ends.
        with contextlib.suppress(BrokerUnavailable, ClientClosed), broker_errors(self.url):
            claimed = list(job_ids)
            for suffix in SUFFIXES.values():
                withdrawn = set(withdraw(self.client, INFER + self.model + suffix, claimed))
                claimed = [job_id for job_id in claimed if job_id not in withdrawn]
            self.revoke(claimed)
            wait(self.waiter.futures(claimed), timeout=_ABANDON_SECONDS)
            self.waiter.discard(claimed)
