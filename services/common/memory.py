"""How much memory this process, its machine and the GPUs have and use."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import pynvml

_STATUS = Path("/proc/self/status")
_GROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's own limit stands, in cgroups of version 2 and 1."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    used_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True)
class GpuUse:
    index: int
    name: str
    utilisation: float
    """Share of the last sample period in which a kernel ran, 0 to 1."""
    used_bytes: int
    """By all processes together."""
    total_bytes: int


def resident_bytes() -> int:
    """Return this process's resident memory now."""
    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """Return the most resident memory that this process has had."""
    # getrusage counts what ran before exec too, so a small process started by a large one would look large.
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine_bytes() -> int:
    """Return what this process may take at most: the machine's memory, or less in a container with a limit."""
    total = int(psutil.virtual_memory().total)
    for path in _GROUP_LIMITS:
        try:
            limit = path.read_text().strip()
        except OSError:
            continue
        # Version 2 says "max" for no limit, version 1 a number beyond any machine.
        return min(total, int(limit)) if limit.isdigit() else total
    return total


def device_memory(kind: str, index: int = 0) -> MemoryUse:
    """Return the memory of the device that this process computes on.

    Args:
        kind: cpu (this process, of its machine) or cuda (all processes together, of the GPU).
        index: GPU as this process numbers it.

    Returns:
        Zeros for a GPU that NVML cannot ask.
    """
    if kind == "cpu":
        return MemoryUse(resident_bytes(), machine_bytes())
    try:
        handle = _visible_handles()[index]
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except (pynvml.NVMLError, IndexError):
        return MemoryUse()
    return MemoryUse(int(memory.used), int(memory.total))


class MemoryGauge:
    """Reads memory at most once in so many seconds, for whoever asks more often.

    Args:
        read: Gives the present values.
        seconds: How long they hold.
    """

    def __init__(self, read: Callable[[], MemoryUse], *, seconds: float = 1.0) -> None:
        self._read = read
        self._seconds = seconds
        self._read_at = float("-inf")
        self._use = MemoryUse()

    def __call__(self) -> MemoryUse:
        now = time.monotonic()
        if now - self._read_at >= self._seconds:
            self._use, self._read_at = self._read(), now
        return self._use


def num_visible_gpus() -> int:
    """Return how many GPUs this process may use, without a CUDA library; 0 where there is no NVML."""
    try:
        return len(_visible_handles())
    except pynvml.NVMLError:
        return 0


def _visible_handles() -> list[object]:
    """NVML's handles in the order in which CUDA numbers the GPUs, given CUDA_DEVICE_ORDER=PCI_BUS_ID."""
    if not _has_nvml():
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    handles = []
    for name in chosen.split(","):
        try:
            is_number = name.strip().isdigit()
            find = pynvml.nvmlDeviceGetHandleByIndex if is_number else pynvml.nvmlDeviceGetHandleByUUID
            handles.append(find(int(name) if is_number else name.strip()))
        except pynvml.NVMLError:
            # CUDA too ignores what follows the first name that is none.
            break
    return handles


def gpus() -> list[GpuUse]:
    """Return the GPUs that NVML sees; none where there is no NVML."""
    if not _has_nvml():
        return []
    try:
        return [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def _gpu(index: int) -> GpuUse:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        utilisation = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    except pynvml.NVMLError_NotSupported:
        # A MIG slice has no utilisation of its own.
        utilisation = 0.0
    return GpuUse(
        index=index,
        name=str(pynvml.nvmlDeviceGetName(handle)),
        utilisation=utilisation,
        used_bytes=int(memory.used),
        total_bytes=int(memory.total),
    )


@cache
def _has_nvml() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True
