"""Starts, watches and drains a gRPC server; the same for every service."""

from __future__ import annotations

import asyncio
import errno
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc

from services.common import event_loop_lag, health
from services.common.channels import SERVER_OPTIONS
from services.common.drain import RunningCalls
from services.common.grpc_errors import ErrorInterceptor
from services.common.health import HealthBoard
from services.common.reflection import add_reflection

logger = structlog.get_logger(__name__)

Register = Callable[[grpc.aio.Server], Sequence[str]]

LAST_WORDS_SECONDS = 1.0
"""How long a dying server lets calls say by themselves why they fail."""

_CANNOT_LISTEN = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}


class EngineDiedError(Exception):
    """What computes behind the server ended; the process has to end too."""


async def serve(
    register: Register,
    *,
    address: str,
    board: HealthBoard,
    drain_seconds: float,
    settle_seconds: float = 0.5,
    stop: asyncio.Event | None = None,
    on_drain: Callable[[], None] | None = None,
    on_bound: Callable[[int], None] | None = None,
    dead: asyncio.Future[None] | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> None:
    """Serve until SIGTERM, SIGINT or `stop`, then let running calls finish; a second signal hurries.

    Health names that the caller has not set on the board become SERVING here: the empty name, `liveness`,
    `readiness`, `startup` and the services' full names.

    Args:
        register: Adds the servicers and returns their services' full names; called after the model is loaded.
        address: Where to listen, such as ``[::]:50051``; port 0 takes a free one.
        board: What health tells; turned to NOT_SERVING here when draining begins.
        drain_seconds: How long running calls may take to finish; then they fail with UNAVAILABLE.
        settle_seconds: How long new calls are taken after health said NOT_SERVING, for callers to notice.
        stop: Set it to end the server from inside.
        on_drain: Called once, when draining begins.
        on_bound: Called with the port, once calls are taken.
        dead: The task of what computes behind the server; when it ends by itself, the server ends too.
        interceptors: More of them, inside those for errors and draining.

    Raises:
        OSError: The address cannot be listened on.
        EngineDiedError: `dead` ended; its exception is the cause.
    """
    stop = stop or asyncio.Event()
    hurry = asyncio.Event()
    calls = RunningCalls()
    server = grpc.aio.server(interceptors=[ErrorInterceptor(), calls, *interceptors], options=SERVER_OPTIONS)
    names = [*register(server), health.SERVICE]
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(board), server)
    add_reflection(server, names)
    port = _bind(server, address)
    with _signals(stop, hurry):
        await server.start()
        lag = asyncio.create_task(event_loop_lag.watch())
        try:
            board.add_missing("", health.LIVENESS, health.READINESS, health.STARTUP, *names)
            logger.info("listening", address=address, port=port)
            if on_bound is not None:
                on_bound(port)
            await _wait_any(stop, dead)
            if dead is not None and dead.done():
                await _fail(server, board, calls)
                raise EngineDiedError("the engine ended") from _cause(dead)
            await _drain(
                server,
                board,
                calls,
                hurry,
                drain_seconds=drain_seconds,
                settle_seconds=settle_seconds,
                on_drain=on_drain,
            )
            logger.info("drained")
        finally:
            lag.cancel()
            await server.stop(grace=None)


def run(main: Coroutine[Any, Any, None]) -> int:
    """Run a service's `main` and return the process's exit code: 0 drained, 1 broken, 130 interrupted."""
    try:
        asyncio.run(main)
    except EngineDiedError as error:
        logger.error("process_ends", reason=str(error), cause=type(error.__cause__).__name__)  # noqa: TRY400
        return 1
    except OSError as error:
        if error.errno not in _CANNOT_LISTEN:
            raise
        sys.stderr.write(f"{error.strerror}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _bind(server: grpc.aio.Server, address: str) -> int:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        hint = "is the port taken by another process, or the host not this machine's?"
        raise OSError(errno.EADDRINUSE, f"cannot listen on {address}: {hint}")
    return port


@contextmanager
def _signals(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _wait_any(stop: asyncio.Event, dead: asyncio.Future[None] | None) -> None:
    stopped = asyncio.create_task(stop.wait())
    try:
        waiting: list[asyncio.Future[Any]] = [stopped] if dead is None else [stopped, dead]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()


def _cause(dead: asyncio.Future[None]) -> BaseException | None:
    return None if dead.cancelled() else dead.exception()


async def _drain(
    server: grpc.aio.Server,
    board: HealthBoard,
    calls: RunningCalls,
    hurry: asyncio.Event,
    *,
    drain_seconds: float,
    settle_seconds: float,
    on_drain: Callable[[], None] | None,
) -> None:
    logger.info("draining", calls=calls.num_working)
    board.enter_shutdown()
    if on_drain is not None:
        on_drain()
    await _first(hurry.wait(), asyncio.sleep(settle_seconds))
    stopping = asyncio.create_task(server.stop(drain_seconds + LAST_WORDS_SECONDS))
    # server.stop refuses new calls at once, but only when it has run.
    await asyncio.sleep(0)
    await _first(hurry.wait(), calls.wait_idle(drain_seconds))
    if calls.num_working:
        logger.warning("calls_cut", calls=calls.num_working)
    calls.end_all()
    await stopping


async def _fail(server: grpc.aio.Server, board: HealthBoard, calls: RunningCalls) -> None:
    board.give_up()
    stopping = asyncio.create_task(server.stop(2 * LAST_WORDS_SECONDS))
    await calls.wait_idle(LAST_WORDS_SECONDS)
    calls.end_all()
    await stopping


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
