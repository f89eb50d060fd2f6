"""How late the event loop is: what holds it up holds up every stream of the process."""

from __future__ import annotations

import asyncio

from services.common import metrics

INTERVAL_SECONDS = 0.1
"""A look costs some 170 microseconds of a sleeping process, 2 ms a second at this pace and 7 at four times as many.

How often a loop is held up, and for how long, shows at any pace; a slower one only needs more time: the 99th percentile
wants some hundred seconds of looks, which a scrape's interval or a bench has.
"""


async def watch(interval_seconds: float = INTERVAL_SECONDS) -> None:
    """Sleep again and again until cancelled, and note each time how late it woke."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + interval_seconds
        await asyncio.sleep(interval_seconds)
        metrics.EVENT_LOOP_LAG_SECONDS.observe(max(0.0, clock() - due))
