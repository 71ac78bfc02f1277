"""Binding: makes the engines of one worker, each bound to its own GPU and no other."""

import logging
from collections.abc import Callable

from celery.platforms import EX_FAILURE
from celery.worker import state

from headrace.engine.process import EngineProcess
from headrace.sdk.device import Device
from headrace.settings import child_environment, get_settings

logger = logging.getLogger(__name__)

#: How often the driver is asked for the GPU before the worker ends: some 7 s with the back-off between.
TRIES = 8


def end_worker() -> None:
    """Begin a cold shutdown: what is claimed goes back to its queue, and the launcher starts another worker."""
    state.should_terminate = EX_FAILURE


class Binding:
    """Knows the GPU of a worker's engines, once the driver has told it."""

    def __init__(
        self, device: Device, uuid_of: Callable[[Device], str], *, uuid: str = "", give_up: Callable[[], None]
    ) -> None:
        """Ask for nothing yet.

        Args:
            device: The worker's.
            uuid_of: Asks the driver for a GPU's UUID; empty if it does not tell.
            uuid: What the launcher has been told of it; empty to ask.
            give_up: Ends the worker.
        """
        self._device = device
        self._uuid_of = uuid_of
        self._give_up = give_up
        self._uuid = uuid
        self._failures = 0

    def make_engine(self) -> EngineProcess:
        """An engine that is to be started; it sees its own GPU and no other, or none if it is to run on the CPU.

        Raises:
            OSError: If the driver does not tell of the GPU now; the supervisor tries again with back-off.
        """
        # Hazard: asked until it is known and not again, since a driver that fails for a moment, or a GPU that
        # drops out of its list, would have the next engine see none, or another worker's.
        self._uuid = self._uuid or self._uuid_of(self._device)
        if self._device.kind == "cuda" and not self._uuid:
            self._fail()
        environment = child_environment(CUDA_VISIBLE_DEVICES=self._uuid)
        return EngineProcess(self._device.name, environment, costs=get_settings().costs_dir)

    def _fail(self) -> None:
        name = self._device.name
        self._failures += 1
        if self._failures == TRIES:
            logger.critical(
                "the driver has not told of %s %d times: this worker ends, and its jobs go back to their queues. "
                "`nvidia-smi` and `headrace doctor` show what is wrong with it",
                name,
                TRIES,
            )
            self._give_up()
        raise OSError(f"the driver does not tell of {name}: an engine would see another GPU, or none")
