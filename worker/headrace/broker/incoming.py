"""Incoming: messages that were claimed, on their way to the consumer."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import redis
from kombu.utils.json import loads

from headrace.broker.app import INFER
from headrace.broker.claim import Claim
from headrace.broker.claims import Claims
from headrace.broker.marks import Known
from headrace.broker.results import LOST_HEADER, REVOKED_HEADER
from headrace.errors import describe

logger = logging.getLogger(__name__)

Message = dict[str, Any]


class NoJob(Exception):
    """What a consumer says of a message that is to be put aside, and why."""


class Incoming:
    """Claims that no consumer has got yet; what is no job is put aside."""

    def __init__(self, forget: Callable[[str], object]) -> None:
        """Hold nothing yet.

        Args:
            forget: Called with the tag of a message that may have been delivered, and that nobody will acknowledge.
        """
        self._forget = forget
        #: Each with the queue that it is for.
        self._undelivered: list[tuple[str, Claim]] = []

    def add(self, queue: str, claims: Sequence[Claim]) -> None:
        """Take claims in, in their order."""
        self._undelivered += [(queue, claim) for claim in claims]

    def deliver(self, claims: Claims, deliver: Callable[[Message, str], object]) -> None:
        """Deliver each message with what Redis knows of its job; what Redis refuses waits for the next call.

        Args:
            claims: The worker's, under whose lease they are.
            deliver: Gets a message and its queue.

        Raises:
            RedisError: If the connection is lost, or the marks cannot be read; nothing was delivered then.
        """
        read = [(queue, claim, _read(claim)) for queue, claim in self._undelivered]
        known = claims.marks.of([_job_id(message) for _, _, message in read if not isinstance(message, str)])
        self._undelivered = []
        for queue, claim, message in read:
            # Without a number the lease has run out meanwhile: another worker has it.
            taken = False
            if claims.number_of(claim.tag):
                try:
                    taken = _deliver(claims, deliver, queue, claim, message, known)
                except redis.ResponseError as error:
                    logger.warning("a message of %s cannot be taken now (%s): it is tried again", queue, error)
                    self._undelivered.append((queue, claim))
            if not taken:
                # kombu would keep it for good.
                self._forget(claim.tag)


def _deliver(
    claims: Claims,
    deliver: Callable[[Message, str], object],
    queue: str,
    claim: Claim,
    message: Message | str,
    known: Known,
) -> bool:
    """Deliver a message or put it aside; return whether a consumer has it."""
    job_id, why = "", message
    if not isinstance(message, str):
        _mark(message, known)
        job_id = _job_id(message)
        try:
            deliver(message, queue)
        except (redis.RedisError, OSError) as error:
            # A DataError is something in it that Redis has no words for: its sender's doing.
            if not isinstance(error, redis.DataError):
                raise
            why = describe(error)
        except NoJob as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - what left here would end the worker, and every other one after it
            why = describe(error)
        else:
            return True
    model = queue.removeprefix(INFER)
    logger.error("a message of %s is put aside, `headrace dead list` shows it: %s", model, why)
    claims.bury(claim, model=model, why=str(why), job_id=job_id)
    return False


def _read(claim: Claim) -> Message | str:
    """The message of a claim, or why it is none."""
    try:
        message: Message = loads(claim.payload.decode())
        # A tag of our own: a message that comes again has its producer's a second time.
        message["properties"]["delivery_tag"] = claim.tag
        _job_id(message)
    except Exception as error:  # noqa: BLE001 - what left here would end the worker, and every other one after it
        return f"what lay in {claim.queue} is no message ({describe(error)}): send it by Celery's protocol 2"
    return message


def _job_id(message: Message) -> str:
    """The id in a message's headers; empty for a message of Celery's first protocol, which has it elsewhere.

    Raises:
        TypeError: If it is no text: nobody could ask for its result.
        UnicodeEncodeError: If it is a text that Redis cannot be sent: JSON allows lone surrogates.
    """
    job_id = message["headers"].get("id", "")
    if not isinstance(job_id, str):
        raise TypeError(f"the id of a job is a text, not {job_id!r:.80}")
    job_id.encode()
    return job_id


def _mark(message: Message, known: Known) -> None:
    """Note in the headers what Redis knows; what a producer says of it is not believed."""
    headers = message["headers"]
    for name in (LOST_HEADER, REVOKED_HEADER):
        headers.pop(name, None)
    job_id = _job_id(message)
    if lost := known.lost.get(job_id):
        headers[LOST_HEADER] = lost
    if job_id in known.revoked:
        headers[REVOKED_HEADER] = True
