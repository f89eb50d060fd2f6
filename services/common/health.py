"""grpc.health.v1 for every process: a board of names, and the servicer that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.errors import UnknownHealthNameError

SERVICE = "grpc.health.v1.Health"

LIVENESS = "liveness"
READINESS = "readiness"
STARTUP = "startup"

Context = grpc.aio.ServicerContext[Any, Any]

SERVING: int = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: int = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN: int = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthBoard:
    """Which names are serving. Belongs to the event loop: touch it from no other thread."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}
        self._watchers: set[asyncio.Event] = set()
        self._is_shutting_down = False

    def set(self, name: str, is_serving: bool) -> None:
        """Set a name; once shutdown has begun, nothing becomes SERVING again."""
        if is_serving and self._is_shutting_down:
            return
        self._put(name, SERVING if is_serving else NOT_SERVING)

    def add_missing(self, *names: str) -> None:
        """Set the names to SERVING that nobody has set yet."""
        for name in names:
            if name not in self._statuses:
                self.set(name, True)

    def status(self, name: str) -> int | None:
        """Return a name's status; None if there is no such name."""
        return self._statuses.get(name)

    def statuses(self) -> dict[str, int]:
        return dict(self._statuses)

    def enter_shutdown(self) -> None:
        """Turn work away, but keep `liveness` and `startup`: a draining process must not be killed."""
        self._is_shutting_down = True
        for name in self._statuses:
            if name not in {LIVENESS, STARTUP}:
                self._put(name, NOT_SERVING)

    def give_up(self) -> None:
        """Turn every name to NOT_SERVING for good, `liveness` too: the process is beyond help."""
        self._is_shutting_down = True
        for name in self._statuses:
            self._put(name, NOT_SERVING)

    async def watch(self, name: str) -> AsyncGenerator[int, None]:
        """Yield the status now and after each change; SERVICE_UNKNOWN while there is no such name.

        Changes faster than the reader are merged: the last one is always seen.
        """
        changed = asyncio.Event()
        self._watchers.add(changed)
        sent: int | None = None
        try:
            while True:
                changed.clear()
                status = self._statuses.get(name, SERVICE_UNKNOWN)
                if status != sent:
                    sent = status
                    yield status
                await changed.wait()
        finally:
            self._watchers.discard(changed)

    def _put(self, name: str, status: int) -> None:
        self._statuses[name] = status
        for changed in self._watchers:
            changed.set()


class HealthServicer(health_pb2_grpc.HealthServicer):
    def __init__(self, board: HealthBoard) -> None:
        self._board = board

    async def Check(  # noqa: N802 (gRPC names its methods)
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        status = self._board.status(request.service)
        if status is None:
            raise UnknownHealthNameError("no such health name; ask List for those there are")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(  # noqa: N802
        self, request: Any, context: Context
    ) -> Any:
        # types-grpcio-health-checking is older than List.
        return health_pb2.HealthListResponse(  # type: ignore[attr-defined]
            statuses={
                name: health_pb2.HealthCheckResponse(status=status) for name, status in self._board.statuses().items()
            }
        )

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        async with aclosing(self._board.watch(request.service)) as statuses:
            async for status in statuses:
                yield health_pb2.HealthCheckResponse(status=status)
