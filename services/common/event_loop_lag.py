"""How late the event loop is: what holds it up holds up every stream of the process."""

from __future__ import annotations

import asyncio

from services.common import metrics

INTERVAL_SECONDS = 0.025
"""Often enough to see what one step of an engine does, at some 20 microseconds of work each time."""


async def watch(interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Sleep again and again until cancelled, and note each time how late it woke."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + interval_seconds
        await asyncio.sleep(interval_seconds)
        metrics.EVENT_LOOP_LAG_SECONDS.observe(max(0.0, clock() - due))
