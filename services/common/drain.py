"""Keeps account of the calls in work, so that a server ends when the last real one has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc

from services.common.errors import StageLostError
from services.common.guard import Context, Handler, guarded
from services.common.reasons import Reason

OBSERVERS = frozenset(
    {
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/tts.stages.v1.Stage/Heartbeat",
    }
)
"""Streams that only look on and have no end of their own; nothing waits for them."""


class RunningCalls(grpc.aio.ServerInterceptor):
    """The calls in work; the inner neighbour of `ErrorInterceptor`."""

    def __init__(self, observers: Collection[str] = OBSERVERS) -> None:
        self._observer_methods = observers
        self._work: set[asyncio.Task[Any]] = set()
        self._observers: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def num_working(self) -> int:
        return len(self._work)

    async def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until no call but observers is left; say whether that came within the time."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True

    def end_all(self) -> None:
        """End what is left with UNAVAILABLE.

        `Server.stop` would end it with CANCELLED, which reads as the caller's own doing.
        """
        for task in self._work | self._observers:
            self._ended.add(task)
            task.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        return guarded(await continuation(handler_call_details), partial(self._count, handler_call_details.method))

    @asynccontextmanager
    async def _count(self, method: str, _context: Context) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task is not None
        tasks = self._observers if method in self._observer_methods else self._work
        tasks.add(task)
        self._update()
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            task.uncancel()
            raise StageLostError("the server stopped before the call was done", reason=Reason.SERVER_STOPPED) from None
        finally:
            tasks.discard(task)
            self._ended.discard(task)
            self._update()

    def _update(self) -> None:
        if self._work:
            self._idle.clear()
        else:
            self._idle.set()
