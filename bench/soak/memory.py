"""Resident memory of processes over time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
import psutil

_INTERVAL_SECONDS = 0.1
"""A fast machine speaks ten minutes in a few seconds: there must be enough samples all the same."""
_SETTLED_SHARE = 0.25
"""The first quarter does not count: caches fill and allocators find their size."""
_FEWEST = 60
"""Settled samples that a slope needs."""


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

    def slopes(self) -> dict[str, float | None]:
        """MB per minute of each process, once settled; None with too few samples."""
        return {name: slope_per_minute(self.seconds, self.megabytes.get(name, [])) for name in self.processes}


def slope_per_minute(seconds: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the slope of the least-squares line through the settled part; None with too few samples of it."""
    first = int(len(seconds) * _SETTLED_SHARE)
    times, settled = np.asarray(seconds[first : len(values)]), np.asarray(values[first:])
    if len(settled) < _FEWEST:
        return None
    return 60 * float(np.polyfit(times - times[0], settled, 1)[0])
