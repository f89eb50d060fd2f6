"""Whether the machine let the measuring process look: one that was stopped itself cannot say what came when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

_INTERVAL_SECONDS = 0.02


@dataclass
class Lateness:
    """How late this process woke, in seconds, each time that it slept a moment."""

    late: list[float] = field(default_factory=list)

    def percentile_ms(self, percent: float) -> float | None:
        """None when it never woke."""
        return 1000 * float(np.percentile(self.late, percent)) if self.late else None


@asynccontextmanager
async def watched(clock: Callable[[], float] = monotonic) -> AsyncIterator[Lateness]:
    """Watch while the block runs."""
    found = Lateness()
    watching = asyncio.create_task(_watch(found, clock))
    try:
        yield found
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch(found: Lateness, clock: Callable[[], float]) -> None:
    while True:
        due = clock() + _INTERVAL_SECONDS
        await asyncio.sleep(_INTERVAL_SECONDS)
        found.late.append(max(0.0, clock() - due))
