"""Setting: what does not depend on the policy, and a policy's run under it."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.attempts import Tally, tally
from benchmarks.cotenant import Tenancy
from benchmarks.memory_policies import Additive, AdditiveTokens, Halving, Headrace, Items, Policy, Tokens, Window, lost
from benchmarks.oracle import Oracle
from benchmarks.shared_device import LONGEST, QuadraticPlugin, SharedDevice, SharedMeter, Truth
from headrace.engine.guard import MemoryGuard
from headrace.engine.rate import LARGEST_WINDOW
from headrace.memory.allowance import Allowance
from headrace.sdk.config import BaseConfig
from headrace.sdk.messages import Prepared

#: Windows after which the same sizes come again.
_WINDOWS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What does not depend on the policy."""

    truth: Truth = field(default_factory=Truth)
    tenancy: Tenancy = field(default_factory=Tenancy)
    #: Seconds of a run, and of its beginning that is not counted.
    seconds: float = 240.0
    warm_up: float = 20.0
    #: Share of the device that headrace may use: all of it, since the others do.
    utilization: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a policy did on one seed."""

    tally: Tally
    device: SharedDevice


#: By name: what is judged against headrace.
OTHERS: dict[str, Callable[[], Policy]] = {
    "8 items": lambda: Items(8),
    "32 items": lambda: Items(32),
    "128 items": lambda: Items(128),
    "16,384 tokens": lambda: Tokens(16_384),
    "halving": lambda: Halving(LARGEST_WINDOW),
    "additive": lambda: Additive(8, 8),
    "additive tokens": lambda: AdditiveTokens(1024, 1024),
}


def run(name: str, setting: Setting, seed: int) -> Run:
    """Run one policy on one seed: the same items and the same co-tenant, whatever its name."""
    device = SharedDevice(setting.truth, setting.tenancy, seed, seconds=setting.seconds)
    plugin, policy = QuadraticPlugin(device, BaseConfig()), make(name, setting, device)
    items = missing = 0
    for window in windows(seed):
        if device.now >= setting.seconds:
            break
        missing += lost(window, policy.run(plugin, window))
        items += len(window)
    counted = tally(device.attempts, begin=setting.warm_up, end=setting.seconds, items=items, lost=missing)
    return Run(tally=counted, device=device)


def make(name: str, setting: Setting, device: SharedDevice) -> Policy:
    """A policy by its name."""
    if name == "oracle":
        return Oracle(device)
    if name == "headrace":
        clock = lambda: device.now  # noqa: E731
        guard = MemoryGuard(SharedMeter(device, setting.utilization), Allowance(clock), clock=clock)
        return Headrace(guard)
    return OTHERS[name]()


def windows(seed: int) -> Iterator[Window]:
    """Windows of items without end, as large as an engine's largest.

    Sizes are log-normal: half of all texts have 50 tokens or less, one in a hundred is cut off at the longest.
    """
    source = random.Random(f"sizes {seed}")  # noqa: S311  a simulation, no secret
    count = _WINDOWS * LARGEST_WINDOW
    sizes = [max(1, min(LONGEST, round(source.lognormvariate(3.9, 1.0)))) for _ in range(count)]
    while True:
        for begin in range(0, count, LARGEST_WINDOW):
            yield [Prepared(size=size, data=size) for size in sizes[begin : begin + LARGEST_WINDOW]]
