"""Lets coroutines of one utterance wait for anything about it to change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Wakeup:
    """Whoever changes something calls `notify`; whoever waits looks again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, is_true: Callable[[], bool]) -> None:
        while not is_true():
            await self._event.wait()


async def together(*work: Awaitable[object]) -> None:
    """Run all at once; the first failure cancels the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(_finish(each))
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


async def _finish(work: Awaitable[object]) -> None:
    await work


def _first(failures: BaseException) -> BaseException:
    while isinstance(failures, BaseExceptionGroup):
        failures = failures.exceptions[0]
    return failures
