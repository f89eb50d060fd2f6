"""A real server on a free port, behind the same `serve` that every process uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from services.common.channels import open_channel
from services.common.health import HealthBoard
from services.common.server import serve

SERVICE = "test.Echo"

Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[..., Any]


@dataclass
class Served:
    """A server in work and a channel to it."""

    address: str
    channel: grpc.aio.Channel
    board: HealthBoard
    stop: asyncio.Event
    task: asyncio.Task[None]
    events: list[str] = field(default_factory=list)

    def unary(self, method: str) -> Any:
        return self.channel.unary_unary(f"/{SERVICE}/{method}")

    def stream(self, method: str) -> Any:
        return self.channel.unary_stream(f"/{SERVICE}/{method}")


def echo_handlers(methods: Mapping[str, Method], *, streaming: bool = False) -> Mapping[str, Any]:
    """Return handlers of raw bytes: unary ones, or ones that answer with a stream."""
    make = grpc.unary_stream_rpc_method_handler if streaming else grpc.unary_unary_rpc_method_handler
    return {name: make(method) for name, method in methods.items()}


def register(handlers: Mapping[str, Any]) -> Callable[[grpc.aio.Server], list[str]]:
    def add(server: grpc.aio.Server) -> list[str]:
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, dict(handlers))])
        return [SERVICE]

    return add


@asynccontextmanager
async def served(
    add: Callable[[grpc.aio.Server], list[str]] | None = None,
    *,
    board: HealthBoard | None = None,
    **options: Any,
) -> AsyncIterator[Served]:
    """Serve on a free port while the block runs; afterwards the server has ended without an error."""
    loop = asyncio.get_running_loop()
    bound: asyncio.Future[int] = loop.create_future()
    board = board or HealthBoard()
    stop = asyncio.Event()
    settings = {"address": "127.0.0.1:0", "drain_seconds": 5, "settle_seconds": 0, **options}
    task = asyncio.create_task(
        serve(add or register({}), board=board, stop=stop, on_bound=bound.set_result, **settings)
    )
    starting: list[asyncio.Future[Any]] = [task, bound]
    await asyncio.wait(starting, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    address = f"127.0.0.1:{bound.result()}"
    async with open_channel(address) as channel:
        running = Served(address, channel, board, stop, task)
        try:
            yield running
        finally:
            stop.set()
            await asyncio.wait([task])
    task.result()
