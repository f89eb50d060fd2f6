"""Messages of a caller's stream, waited for no longer than is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from services.common.errors import DeadlineError
from services.common.reasons import Reason

Message = TypeVar("Message")


async def next_message(messages: AsyncIterator[Message], *, idle_seconds: float) -> Message | None:
    """The next message, or None at the end of the stream.

    Raises:
        DeadlineError: None came for so long.
    """
    try:
        async with asyncio.timeout(idle_seconds):
            return await anext(messages, None)
    except TimeoutError:
        raise DeadlineError(f"no message came for {idle_seconds:g} s", reason=Reason.STREAM_IDLE) from None
