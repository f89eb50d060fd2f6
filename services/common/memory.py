"""How much memory this process and the GPUs use."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import pynvml

_STATUS = Path("/proc/self/status")


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
