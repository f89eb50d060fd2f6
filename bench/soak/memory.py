"""Resident memory of processes over time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
import psutil

_INTERVAL_SECONDS = 1.0
_SETTLED_SHARE = 0.25
"""The first quarter does not count: caches fill and allocators find their size."""


@dataclass
class MemoryTrace:
    """Samples of the resident memory of some processes."""

    processes: Mapping[str, psutil.Process]
    seconds: list[float] = field(default_factory=list)
    megabytes: dict[str, list[float]] = field(default_factory=dict)
    """MB of 10**6 bytes, by process."""

    async def follow(self) -> None:
        """Sample until cancelled."""
        began = monotonic()
        while True:
            self.seconds.append(monotonic() - began)
            for name, process in self.processes.items():
                self.megabytes.setdefault(name, []).append(process.memory_info().rss / 1e6)
            await asyncio.sleep(_INTERVAL_SECONDS)

    def slopes(self) -> dict[str, float]:
        """MB per minute of each process, once settled; empty with too few samples."""
        found = {name: slope_per_minute(self.seconds, values) for name, values in self.megabytes.items()}
        return {name: slope for name, slope in found.items() if slope is not None}


def slope_per_minute(seconds: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the slope of the least-squares line through the settled part; None below three samples of it."""
    first = int(len(seconds) * _SETTLED_SHARE)
    times, settled = np.asarray(seconds[first:]), np.asarray(values[first:])
    if len(times) < 3:
        return None
    return 60 * float(np.polyfit(times - times[0], settled, 1)[0])
