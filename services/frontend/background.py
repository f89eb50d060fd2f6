"""Work beside the calls that must go on for as long as the process lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.common import logs

logger = structlog.get_logger(__name__)


async def keep_running(name: str, work: Callable[[], Awaitable[None]], *, pause_seconds: float = 1.0) -> None:
    """Do some work until it ends or is cancelled; when it breaks, say so in the log and begin again.

    Args:
        name: Of the work, for the log.
        work: Begins it; called again after each failure.
        pause_seconds: Before it begins again.
    """
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a task that ends in silence would be missed hours later
            # Not logger.exception: the message may quote a caller.
            logger.error(  # noqa: TRY400
                "background_work_broke", work=name, error=type(error).__name__, exception=logs.outline(error)
            )
        else:
            return
        await asyncio.sleep(pause_seconds)
