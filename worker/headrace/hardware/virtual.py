"""Virtual memory of a device that is not there: counted, told by a file, and enforced.

It lets everything that adapts to a device's memory be proved, and rehearsed, on any machine.
"""

import contextlib
import gc
import mmap
import os
import struct
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.errors import ConfigError
from headrace.hardware.meter import MemoryMeter, Peak
from headrace.hardware.profile import DeviceProfile
from headrace.sdk.device import Device

#: The file: total bytes, and those that others use.
_NUMBERS = struct.Struct("<QQ")


class VirtualMemory:
    """A byte budget; what others use of it may change at any moment."""

    def __init__(self, source: int | Path) -> None:
        """Take a size in bytes, or a file that `write_virtual` makes and another process may change.

        Raises:
            ConfigError: If the file is no such file.
        """
        self._numbers: bytes | mmap.mmap
        if isinstance(source, Path):
            self._numbers = _mapped(source)
        else:
            self._numbers = _NUMBERS.pack(source, 0)
        #: Bytes that this process has, and the most that it has had since someone asked.
        self.held = self.peak = 0
        self._lock = threading.RLock()
        #: Ids of the living storages that were counted, whichever thread made them.
        self.known: set[int] = set()

    @property
    def total(self) -> int:
        """Bytes of the device."""
        return int(_NUMBERS.unpack_from(self._numbers)[0])

    @property
    def free(self) -> int:
        """Bytes that nobody uses."""
        total, others = _NUMBERS.unpack_from(self._numbers)
        return max(0, int(total - others) - self.held)

    def take(self, count: int) -> None:
        """Use so many bytes.

        Raises:
            MemoryError: If they are not free; the message says it as torch does.
        """
        with self._lock:
            if count > (free := self.free):
                raise MemoryError(f"the virtual device is out of memory: tried to allocate {count} bytes, {free} free")
            self.held += count
            self.peak = max(self.peak, self.held)

    def give(self, count: int) -> None:
        """Use so many bytes no longer."""
        # Hazard: runs wherever an object happens to die, inside `take` too; hence the reentrant lock.
        with self._lock:
            self.held -= count

    def enforce(self) -> contextlib.AbstractContextManager[Any]:
        """Count the storages of all tensors that this thread makes, and raise torch's error beyond the budget."""
        return _counting_mode(self)


class VirtualMeter(MemoryMeter):
    """Watches a virtual device; exact."""

    def __init__(self, memory: VirtualMemory, device: Device, utilization: float) -> None:
        super().__init__(lambda: virtual_profile(memory, device), utilization)
        self._memory = memory
        self._before = 0

    @property
    def held(self) -> int:
        """Bytes of live tensors."""
        return self._memory.held

    def begin(self, *, exactly: bool) -> None:
        """Reset the peak."""
        self._before = self._memory.peak = self._memory.held

    def end(self) -> Peak:
        """The peak of live tensors."""
        count = self._memory.peak - self._before
        return Peak(count, count)

    def release(self) -> None:
        """Collect garbage; tensors in cycles die with it."""
        gc.collect()

    def on_thread(self) -> contextlib.AbstractContextManager[Any]:
        """Count what the thread makes, too."""
        return self._memory.enforce()


def virtual_profile(memory: VirtualMemory, device: Device) -> DeviceProfile:
    """A virtual device now, as an analyzer tells of a real one."""
    total, free = memory.total, memory.free
    return DeviceProfile(
        device=device,
        name="virtual device",
        total=total,
        free=free,
        used_by_us=memory.held,
        used_by_others=max(0, total - free - memory.held),
    )


def write_virtual(path: Path, *, total: int, others: int = 0) -> None:
    """Make or change the file of a virtual device; processes that have it open see it at once."""
    # Hazard: in place, since they have it mapped.
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(_NUMBERS.pack(total, others))


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ConfigError(f"virtual_memory: {path} cannot be mapped: {error}") from None
    if len(mapped) != _NUMBERS.size:
        raise ConfigError(
            f"virtual_memory: {path} is not the file of a virtual device, which has {_NUMBERS.size} bytes"
        )
    return mapped


def _counting_mode(memory: VirtualMemory) -> contextlib.AbstractContextManager[Any]:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    # A mode counts the tensors of its own thread: no plugin may share a batch among several.
    torch.set_num_threads(1)
    # Nor may transformers load its weights in several.
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"

    class CountingMode(TorchDispatchMode):  # type: ignore[misc, no-untyped-call, unused-ignore]  # has no types
        """Counts storages when an operator returns them, and until they die."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for owner, count in _owners(tree_leaves(result), torch.Tensor):
                if id(owner) not in memory.known:
                    self._count(owner, count)
            return result

        def _count(self, owner: Any, count: int) -> None:
            try:
                memory.take(count)
            except MemoryError as error:
                raise torch.OutOfMemoryError(str(error)) from None
            memory.known.add(id(owner))
            weakref.finalize(owner, self._forget, id(owner), count)

        def _forget(self, number: int, count: int) -> None:
            memory.known.discard(number)
            memory.give(count)

    return CountingMode()  # type: ignore[no-untyped-call]  # the same


def _owners(leaves: list[Any], tensor: Any) -> Iterator[tuple[Any, int]]:
    """What holds memory, and its bytes."""
    for leaf in leaves:
        if isinstance(leaf, tensor) and not leaf.is_meta:
            try:
                storage = leaf.untyped_storage()
                # What is mapped from a file is the kernel's, which drops it when it must.
                if storage.filename is None:
                    yield storage, storage.nbytes()
            except (NotImplementedError, RuntimeError):
                # Weights as some CPU kernels lay them out have no storage that can be seen.
                yield leaf, leaf.numel() * leaf.element_size()
