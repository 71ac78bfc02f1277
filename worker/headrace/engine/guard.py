"""MemoryGuard: runs one model's batches in the memory that there is."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from headrace.engine.bisect import bisecting
from headrace.errors import HeadraceError, InferenceFailed, OutOfMemory, describe
from headrace.hardware.meter import MemoryMeter, Peak
from headrace.memory.allowance import Allowance, Failure
from headrace.memory.oom import bytes_tried, drop_frames, is_out_of_memory
from headrace.memory.padding import cut_padding
from headrace.memory.plan import plan_batches
from headrace.memory.shape import Shape
from headrace.memory.trials import Trials
from headrace.sdk.config import BaseConfig
from headrace.sdk.messages import Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

#: Batches of which each is measured exactly; then one in so many seconds, since it costs some milliseconds.
_LEARNING, _SELDOM = 16, 2.0
#: Batches that may take no more than this share of the room are watched only when they are measured exactly.
_SLIGHT = 1 / 16
#: By how much the room must have grown to plan anew.
_GROWN = 1.25
#: Seconds after which an item goes before younger ones of a better fitting size.
MAX_AGE = 5.0


class _DoesNotFit(Exception):
    """A part of a batch for which memory ended needs more than there is, too: it is halved, not run."""


class MemoryGuard:
    """Plans batches that fit, measures each, and halves those for which memory ended all the same."""

    def __init__(
        self,
        meter: MemoryMeter,
        allowance: Allowance,
        *,
        make_room: Callable[[int], None] = lambda _: None,
        trials: Trials | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing has run yet.

        Args:
            meter: Watches the device.
            allowance: What is known of the model's batches.
            make_room: Evicts what the device can do without, for an item that does not fit alone; is told how
                many bytes it needs at least.
            trials: Where batches are noted of which the process may die; None for nowhere.
            clock: Monotonic seconds.
        """
        self._meter = meter
        self.allowance = allowance
        #: Has others leave for so many bytes.
        self.make_room = make_room
        self._trials = trials
        self._clock = clock
        #: The room for which it was planned, and whether a batch would have been larger with more.
        self._planned = 0
        self._tight = False
        self._measure_at = 0.0
        #: Calls of the present batch for which memory ended, the whole one first.
        self._failures: list[Failure] = []
        #: Longest item of the present batch that went through.
        self._longest = 0
        #: Calls for which memory has ended.
        self.failures = 0

    # -- planning

    def plan(self, sizes: Sequence[int], config: BaseConfig, *, ages: Sequence[float] = ()) -> list[list[int]]:
        """Pack items into the largest batches that fit now and waste no time on padding: positions in `sizes`."""
        self._planned, self._tight = self._meter.room, False
        self.allowance.held = self._meter.held - self._meter.spare
        batches = plan_batches(
            sizes,
            max_batch_size=config.max_batch_size,
            max_batch_tokens=config.max_batch_tokens,
            fits=self._fits,
            ages=ages,
            max_age=MAX_AGE,
        )
        return cut_padding(batches, sizes, seconds=self.allowance.seconds)

    def _fits(self, shape: Shape) -> bool:
        fits = self.allowance.fits(shape, self._planned)
        self._tight = self._tight or not fits
        return fits

    def outdated(self, sizes: Sequence[int]) -> bool:
        """Whether a planned batch of such items does not fit any more, or could be larger now."""
        room = self._meter.room
        if len(sizes) > 1 and not self.allowance.fits(Shape.of(sizes), room):
            return True
        return self._tight and (room > _GROWN * self._planned or self.allowance.memory.samples < _LEARNING)

    # -- running

    def infer(self, plugin: ModelPluginInterface, batch: Sequence[Prepared]) -> list[Outcome]:
        """Run a batch; an exception or a lack of memory fails only the items that have it alone."""
        self._failures, self._longest = [], 0
        outcomes = bisecting(
            partial(self._call, plugin), batch, kind=Outcome, failed=self._failed, before_halves=self._clear
        )
        self._learn_from_failures()
        return outcomes

    def _call(self, plugin: ModelPluginInterface, batch: Sequence[Prepared]) -> list[Outcome]:
        if self._failures and len(batch) > 1 and not self._fits_now(batch):
            raise _DoesNotFit
        try:
            return self._measured(plugin, batch)
        except Exception as error:
            # What is raised beside the plugin's own call was not noted as a failure of it.
            if len(batch) > 1 or not self._failures or not is_out_of_memory(error):
                raise
            drop_frames(error)
        # Outside the except block: there the exception would keep alive what is to be freed.
        self.make_room(self._failures[-1].needed)
        self._meter.release()
        return self._measured(plugin, batch)

    def _fits_now(self, batch: Sequence[Prepared]) -> bool:
        return self.allowance.fits(Shape.of([each.size for each in batch]), self._meter.room)

    def _measured(self, plugin: ModelPluginInterface, batch: Sequence[Prepared]) -> list[Outcome]:
        shape = Shape.of([each.size for each in batch])
        begin = self._clock()
        exactly = self.allowance.memory.samples < _LEARNING or begin >= self._measure_at
        watched = exactly or self.allowance.bound(shape) > _SLIGHT * self.allowance.within(self._planned)
        trial = self._trial(shape)
        if watched:
            # Performance: it takes as long as a hundred small items.
            self._meter.begin(exactly=exactly)
            begin = self._clock()
        try:
            with trial:
                outcomes = plugin.infer(batch)
        except Exception as error:
            if is_out_of_memory(error):
                self._note_failure(shape, bytes_tried(error), self._peak_of_failed() if watched else None)
            raise
        self._longest = max(self._longest, shape.longest)
        self.allowance.succeeded(shape)
        if watched:
            self._note(shape, self._meter.end(), seconds=self._clock() - begin, exactly=exactly)
        return outcomes

    def _trial(self, shape: Shape) -> AbstractContextManager[None]:
        # Performance: nothing is read or written for a batch that is not the largest so far.
        # Nor may a load that kills the process beside it leave a note against it.
        if self._trials is None or self._meter.crowded or not self.allowance.is_trial(shape):
            return nullcontext()
        return self._trials.noted(shape, self._meter.room)

    def _note(self, shape: Shape, peak: Peak | None, *, seconds: float, exactly: bool) -> None:
        if self._meter.crowded:
            return
        if exactly:
            self._measure_at = self._clock() + _SELDOM
        if peak is None:
            self.allowance.unmeasured = True
        elif exactly or peak.at_least > self.allowance.bound(shape):
            self.allowance.learn(shape, peak=peak.at_least, seconds=seconds)

    # -- when memory ends

    def _peak_of_failed(self) -> Peak | None:
        peak = self._meter.end()
        return None if self._meter.crowded else peak

    def _note_failure(self, shape: Shape, tried: int, peak: Peak | None) -> None:
        self.failures += 1
        reached = peak.at_least if peak else 0
        # The batch still holds what it had by then.
        failure = Failure(shape=shape, reached=reached, tried=tried, room=self._meter.room + reached)
        logger.warning("memory ended: %s", failure)
        self._failures.append(failure)

    def _clear(self) -> None:
        if self._failures:
            self._meter.release()

    def _failed(self, caught: BaseException) -> Outcome:
        # A plugin that leaves by SystemExit because memory ended was not seen to fail for it.
        if self._failures and is_out_of_memory(caught):
            return Outcome(error=self._out_of_memory())
        return Outcome(error=_as_headrace_error(caught))

    def _out_of_memory(self) -> HeadraceError:
        last, profile = self._failures[-1], self._meter.profile()
        needed = last.needed or int(self.allowance.bound(last.shape))
        error = OutOfMemory(
            f"the item needs {needed / 2**20:,.1f} MiB or more, and {last.room / 2**20:,.1f} MiB of "
            f"{profile.total / 2**20:,.0f} were free: shorten it, or use a larger device"
        )
        error.retryable = last.room < needed <= profile.total - self._meter.held
        return error

    def _learn_from_failures(self) -> None:
        """Hold against the size of a batch what was not the fault of an item in it, nor of a load beside it."""
        if not self._failures or self._meter.crowded:
            return
        alone = [failure for failure in self._failures if failure.shape.items == 1]
        guilty = [failure for failure in alone if failure.shape.longest > self._longest > 0]
        for failure in guilty or ([] if alone else self._failures[:1]):
            self.allowance.fail(failure)


def _as_headrace_error(caught: BaseException) -> HeadraceError:
    if isinstance(caught, HeadraceError):
        return caught
    error = InferenceFailed(f"{describe(caught)}")
    error.__cause__ = caught
    return error
