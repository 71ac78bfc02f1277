"""A device shared with a co-tenant, on a virtual clock, and a plugin on it whose cost nobody is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.attempts import Attempt
from benchmarks.cotenant import MIB, CoTenant, Tenancy
from headrace.hardware.meter import MemoryMeter, Peak
from headrace.hardware.profile import DeviceProfile
from headrace.memory.shape import Shape
from headrace.sdk.config import BaseConfig
from headrace.sdk.device import Device
from headrace.sdk.messages import Outcome, Prepared
from headrace.sdk.plugin import ModelPluginInterface

#: An int, or an array of numbers.
Number = Any
#: Longest item, in tokens; longer ones are cut off, as tokenisers do.
LONGEST = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What a batch needs and how long it takes: an encoder of BERT's size in float16 that pads its batches."""

    #: Bytes that any batch needs: the workspace of the matrix products.
    fixed: int = 64 * MIB
    #: Bytes for a padded token: 768 wide, with query, key, value and a fourfold intermediate twice, 2 bytes each.
    linear: int = 18 * 1024
    #: Bytes for a padded token and each token of the longest: scores and their softmax of 12 heads, 2 bytes each.
    quadratic: int = 48
    #: By how many thousandths a batch may need more than this: an allocator's blocks and fragments. Which batch needs
    #: how much more looks random.
    noise: int = 30
    #: Seconds of a batch with nothing in it: 12 layers' kernels are launched, ids go to the device, vectors come back.
    overhead: float = 0.010
    #: Seconds for a padded token: 0.17 GFLOP at 42 TFLOPS. The overhead is worth 2,500 tokens, some 50 items.
    per_token: float = 4e-6
    #: Layers, each of which takes the batch's memory anew: the first one tells whether it fits.
    layers: int = 12
    #: Seconds that an attempt without memory costs beyond that: an exception, garbage, the emptied cache filled again.
    clearing: float = 0.050
    #: Seconds of an exact measurement.
    measuring: float = 0.003

    def first(self, items: Number, longest: int) -> Number:
        """Bytes that a layer takes first."""
        return self.fixed + items * longest * self.linear * self._blocks(items, longest) // 1000

    def peak(self, items: Number, longest: int) -> Number:
        """Bytes that a batch needs."""
        scores = items * longest * longest * self.quadratic * self._blocks(items, longest) // 1000
        return self.first(items, longest) + scores

    def seconds(self, items: Number, longest: int) -> Number:
        """How long a batch takes."""
        return self.overhead + self.per_token * items * longest

    def _blocks(self, items: Number, longest: int) -> Number:
        return 1000 + (items * 7919 + longest * 104729) % (self.noise + 1)


class SharedDevice:
    """The virtual clock, and what is free by it."""

    def __init__(self, truth: Truth, tenancy: Tenancy, seed: int, *, seconds: float) -> None:
        self.truth, self.tenancy = truth, tenancy
        self.cotenant = CoTenant(tenancy, seed, seconds=seconds)
        self.now = 0.0
        #: Bytes that a batch without memory still has, until something is released.
        self.held = 0
        self.attempts: list[Attempt] = []

    @property
    def free(self) -> int:
        """Bytes that nobody uses."""
        return self.cotenant.free(self.now) - self.held

    def run(self, sizes: Sequence[int]) -> None:
        """Run a batch.

        Raises:
            MemoryError: If what it needs is not free at one moment.
        """
        shape, begin = Shape.of(sizes), self.now
        peak, took = self.truth.peak(shape.items, shape.longest), self.truth.seconds(shape.items, shape.longest)
        failed = self.cotenant.falls_below(peak, begin, begin + took)
        if failed is None:
            self.now += took
        else:
            layer = (took - self.truth.overhead) / self.truth.layers
            self.now = max(begin + self.truth.overhead, failed) + layer + self.truth.clearing
        stepped = failed is not None and peak <= self.cotenant.free(begin)
        attempt = Attempt(begin=begin, end=self.now, shape=shape, need=peak, ok=failed is None, stepped=stepped)
        self.attempts.append(attempt)
        if failed is not None:
            self._refuse(shape, self.cotenant.free(failed))

    def _refuse(self, shape: Shape, free: int) -> None:
        first, peak = (each(shape.items, shape.longest) for each in (self.truth.first, self.truth.peak))
        self.held = first if first <= free else 0
        raise MemoryError(f"out of memory: tried to allocate {peak - self.held} bytes")


class SharedMeter(MemoryMeter):
    """Watches a shared device as `CudaMeter` does a GPU."""

    def __init__(self, device: SharedDevice, utilization: float) -> None:
        super().__init__(self._profile, utilization)
        self._device = device

    def _profile(self) -> DeviceProfile:
        total, free = self._device.tenancy.total, self._device.free
        return DeviceProfile(
            device=Device("cuda"),
            name="shared device",
            total=total,
            free=max(0, free),
            used_by_us=self.held,
            used_by_others=total - self._device.cotenant.free(self._device.now),
        )

    @property
    def held(self) -> int:
        """Bytes of a batch that failed."""
        return self._device.held

    def begin(self, *, exactly: bool) -> None:
        """Exactness costs time."""
        if exactly:
            self._device.now += self._device.truth.measuring

    def end(self) -> Peak:
        """The last attempt's peak, or what it had when memory ended."""
        last = self._device.attempts[-1]
        count = last.need if last.ok else self._device.held
        return Peak(count, count)

    def release(self) -> None:
        """Let go of what a batch had."""
        self._device.held = 0


class QuadraticPlugin(ModelPluginInterface):
    """Runs on a shared device; it claims nothing and says nothing of what it needs."""

    def __init__(self, device: SharedDevice, config: BaseConfig) -> None:
        self.initialize(config, Device("cuda"))
        self._device = device

    def load_model(self) -> None:
        """Nothing to load."""

    def infer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Answer each item with itself."""
        self._device.held = 0
        self._device.run([item.size for item in batch])
        return [Outcome(output=item.data) for item in batch]

    def cleanup(self) -> None:
        """Nothing to free."""

    def sample(self, size: int) -> Prepared:
        """A made-up item."""
        return Prepared(size=min(size, LONGEST))
