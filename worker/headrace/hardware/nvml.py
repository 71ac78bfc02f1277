"""Nvml: the GPUs that this process may use, as the driver tells of them."""

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from headrace.hardware.profile import DeviceProfile
from headrace.sdk.device import Device

logger = logging.getLogger(__name__)

Told = TypeVar("Told")


class Nvml:
    """Asks NVML, which is opened at the first question; whatever fails is logged once and answered with nothing."""

    def __init__(self, visible: str | None) -> None:
        """Note what may be used.

        Args:
            visible: CUDA_VISIBLE_DEVICES, or None if it is not set. Its numbers are NVML's, in the order of
                the bus, as CUDA counts under CUDA_DEVICE_ORDER=PCI_BUS_ID.
        """
        self._visible = visible
        self._lock = threading.Lock()
        self._opened = False
        self._logged: set[str] = set()
        #: Of GPUs that were seen, by NVML's numbers: one that is lost keeps its place.
        self._uuids: dict[int, str] = {}

    def gpus(self) -> Sequence[str]:
        """UUIDs of the GPUs that may be used, in the order of `visible`: the first is `cuda:0`."""
        return self._ask("the GPUs cannot be listed", self._gpus, [])

    def profile(self, device: Device, ours: Collection[int]) -> DeviceProfile:
        """What a GPU is and has; sizes of 0 if it is lost.

        Args:
            device: A `cuda:N`.
            ours: Ids of our own processes.
        """
        nothing = DeviceProfile(device=device, name="unknown GPU")
        return self._ask(f"{device.name} cannot be read", lambda: self._profile(device, ours), nothing)

    def close(self) -> None:
        """Let go of the driver."""
        with self._lock:
            if self._opened:
                import pynvml

                pynvml.nvmlShutdown()
                self._opened = False

    def _ask(self, failure: str, question: Callable[[], Told], otherwise: Told) -> Told:
        with self._lock:
            try:
                self._open()
                return question()
            except Exception as error:  # noqa: BLE001 - a driver that fails must not take the worker with it
                if self._opened:
                    self._log(failure, f": {error}")
                return otherwise

    def _log(self, failure: str, why: str = "") -> None:
        if failure not in self._logged:
            logger.warning("%s%s", failure, why)
            self._logged.add(failure)

    def _open(self) -> None:
        if not self._opened:
            import pynvml

            pynvml.nvmlInit()
            self._opened = True

    def _gpus(self) -> Sequence[str]:
        import pynvml

        for index in range(pynvml.nvmlDeviceGetCount()):
            # One that was lost before it was ever seen has no place: nobody has been bound to it.
            with contextlib.suppress(pynvml.NVMLError):
                self._uuids[index] = _text(pynvml.nvmlDeviceGetUUID(_handle(index)))
        uuids = [self._uuids.get(index, "") for index in range(pynvml.nvmlDeviceGetCount())]
        shown = visible_of(uuids, self._visible)
        if self._visible and uuids and not shown:
            self._log(f"CUDA_VISIBLE_DEVICES={self._visible} names none of the GPUs {', '.join(uuids)}")
        return shown

    def _profile(self, device: Device, ours: Collection[int]) -> DeviceProfile:
        import pynvml

        uuid = self._gpus()[device.index]
        handle = _handle(next(index for index, each in self._uuids.items() if each == uuid))
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        # What is good to know, and not told of every kind of GPU.
        processes = _told(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle), [])
        used = {each.pid: int(each.usedGpuMemory or 0) for each in processes}
        by_us = sum(count for pid, count in used.items() if pid in ours)
        return DeviceProfile(
            device=device,
            uuid=uuid,
            name=_text(pynvml.nvmlDeviceGetName(handle)),
            compute_capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
            total=int(memory.total),
            free=int(memory.free),
            used_by_us=by_us,
            used_by_others=max(0, int(memory.total) - int(memory.free) - by_us),
            utilisation=_told(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100, None),
            driver=_told(lambda: _text(pynvml.nvmlSystemGetDriverVersion()), ""),
        )


def visible_of(uuids: Sequence[str], visible: str | None) -> Sequence[str]:
    """Which GPUs CUDA shows, and in which order.

    As CUDA reads it: numbers or beginnings of UUIDs; the first that names none ends the list.
    https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#cuda-environment-variables

    Example:
        >>> visible_of(["GPU-a1", "GPU-b2"], "1,0"), visible_of(["GPU-a1", "GPU-b2"], "GPU-b,7,0")
        (['GPU-b2', 'GPU-a1'], ['GPU-b2'])

    Args:
        uuids: In the driver's order; empty for a GPU that cannot be read.
        visible: CUDA_VISIBLE_DEVICES, or None if it is not set.
    """
    if visible is None:
        return [uuid for uuid in uuids if uuid]
    shown: list[str] = []
    for word in (each.strip() for each in visible.split(",")):
        if word.isdecimal():
            found = list(uuids[int(word) : int(word) + 1])
        else:
            found = [uuid for uuid in uuids if word and uuid.startswith(word)]
        if len(found) != 1 or found[0] in {"", *shown}:
            break
        shown += found
    return shown


def _told(question: Callable[[], Any], otherwise: Any) -> Any:
    import pynvml

    try:
        return question()
    except pynvml.NVMLError:
        return otherwise


def _handle(index: int) -> Any:
    import pynvml

    return pynvml.nvmlDeviceGetHandleByIndex(index)


def _text(told: str | bytes) -> str:
    return told.decode() if isinstance(told, bytes) else told
