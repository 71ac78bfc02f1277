"""Incoming messages: read as kombu has them, with what this worker and Redis know of their jobs."""

from typing import Any

from kombu.utils.json import loads

from headrace.broker.claim import Claim
from headrace.broker.marks import Known
from headrace.broker.results import LOST_HEADER, REVOKED_HEADER
from headrace.errors import describe

Message = dict[str, Any]


def read(claim: Claim) -> Message | str:
    """The message of a claim, or why it is none."""
    try:
        message: Message = loads(claim.payload.decode())
        # A tag of our own: a message that comes again has its producer's a second time.
        message["properties"]["delivery_tag"] = claim.tag
        job_id_of(message)
    except Exception as error:  # noqa: BLE001 - what left here would end the worker, and every other one after it
        return f"what lay in {claim.queue} is no message ({describe(error)}): send it by Celery's protocol 2"
    return message


def job_id_of(message: Message) -> str:
    """The id in a message's headers; empty for a message of Celery's first protocol, which has it elsewhere.

    Raises:
        TypeError: If it is no text: nobody could ask for its result.
    """
    job_id = message["headers"].get("id", "")
    if not isinstance(job_id, str):
        raise TypeError(f"the id of a job is a text, not {job_id!r:.80}")
    return job_id


def mark(message: Message, known: Known) -> None:
    """Note in the headers what Redis knows; what a producer says of it is not believed."""
    headers = message["headers"]
    for name in (LOST_HEADER, REVOKED_HEADER):
        headers.pop(name, None)
    job_id = job_id_of(message)
    if lost := known.lost.get(job_id):
        headers[LOST_HEADER] = lost
    if job_id in known.revoked:
        headers[REVOKED_HEADER] = True
