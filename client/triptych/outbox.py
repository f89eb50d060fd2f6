"""The messages of a stream on their way to the server, which can be sent again while nothing came back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

Message = TypeVar("Message")


class Outbox(Generic[Message]):
    """Keeps messages in order, for one sender at a time."""

    def __init__(self) -> None:
        self._kept: deque[Message] = deque()
        self._forgotten = 0
        self._sent = 0
        self._is_replayable = True
        self._is_ended = False
        self._changed = asyncio.Condition()

    @property
    def is_ended(self) -> bool:
        return self._is_ended

    async def put(self, message: Message) -> None:
        """Add a message and wait until it has been sent once."""
        number = await self.add(message)
        async with self._changed:
            await self._changed.wait_for(lambda: self._sent > number)

    async def add(self, message: Message) -> int:
        """Add a message and return its number."""
        async with self._changed:
            self._kept.append(message)
            self._changed.notify_all()
            return self._added - 1

    async def end(self) -> None:
        """Say that no more messages come."""
        async with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def forget(self) -> None:
        """Give up what was sent: it will not be sent again."""
        self._is_replayable = False
        self._drop_sent()

    async def messages(self) -> AsyncIterator[Message]:
        """Yield every message that is kept, and those that come, until the end; each is sent when the next is taken."""
        number = self._forgotten
        while await self._is_there(number):
            yield self._kept[number - self._forgotten]
            number += 1
            async with self._changed:
                self._sent = max(self._sent, number)
                self._drop_sent()
                self._changed.notify_all()

    async def _is_there(self, number: int) -> bool:
        """Wait for a message, or for the end without it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_ended or number < self._added)
        return number < self._added

    @property
    def _added(self) -> int:
        return self._forgotten + len(self._kept)

    def _drop_sent(self) -> None:
        while not self._is_replayable and self._forgotten < self._sent:
            self._kept.popleft()
            self._forgotten += 1
