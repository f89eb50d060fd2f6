"""How a server starts, drains and dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from services.common import errors, event_loop_lag, grpc_errors, server
from services.common.channels import MAX_MESSAGE_BYTES
from services.common.health import NOT_SERVING, SERVING, HealthBoard
from services.common.reasons import Reason
from services.common.server import EngineDiedError
from tests.unit.common.serving import SERVICE, Context, echo_handlers, register, served


class Slow:
    """A stream of two answers; the second waits until the test lets it go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def stream(self, _request: bytes, _context: Context) -> AsyncIterator[bytes]:
        yield b"first"
        await self.go_on.wait()
        yield b"last"

    def register(self) -> Any:
        return register(echo_handlers({"Slow": self.stream}, streaming=True))


async def test_running_stream_finishes_after_stop() -> None:
    slow = Slow()
    drained = asyncio.Event()
    async with served(slow.register(), on_drain=drained.set) as running:
        call = running.stream("Slow")(b"")
        assert await call.read() == b"first"
        running.stop.set()
        await drained.wait()
        assert running.board.status("readiness") == NOT_SERVING
        assert running.board.status("liveness") == SERVING
        slow.go_on.set()
        assert await call.read() == b"last"
        assert await call.read() is grpc.aio.EOF


async def test_signal_drains() -> None:
    async with asyncio.timeout(5), served() as running:
        os.kill(os.getpid(), signal.SIGTERM)
        await running.task


async def test_a_server_watches_the_lag_of_its_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def watch() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(event_loop_lag, "watch", watch)
    async with asyncio.timeout(5), served() as running:
        await begun.wait()
        running.stop.set()
        await ended.wait()


async def test_second_signal_hurries() -> None:
    slow = Slow()
    drained = asyncio.Event()
    async with (
        asyncio.timeout(10),
        served(slow.register(), drain_seconds=600, on_drain=drained.set) as running,
    ):
        call = running.stream("Slow")(b"")
        await call.read()
        os.kill(os.getpid(), signal.SIGTERM)
        await drained.wait()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        await running.task

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_call_that_outlasts_the_drain_is_unavailable() -> None:
    """CANCELLED would read as the caller's own doing, and nobody would retry it."""
    slow = Slow()
    async with asyncio.timeout(5), served(slow.register(), drain_seconds=0.01) as running:
        call = running.stream("Slow")(b"")
        await call.read()
        running.stop.set()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()

    got = grpc_errors.from_rpc_error(caught.value)
    assert isinstance(got, errors.StageLostError)
    assert got.reason == "SERVER_STOPPED"


async def test_client_that_does_not_read_does_not_hold_up_the_end() -> None:
    async def flood(_request: bytes, _context: Context) -> AsyncIterator[bytes]:
        while True:
            yield bytes(1_000_000)

    add = register(echo_handlers({"Flood": flood}, streaming=True))
    async with asyncio.timeout(5), served(add, drain_seconds=0.01) as running:
        call = running.stream("Flood")(b"")
        await call.read()
        running.stop.set()
        await running.task
        call.cancel()


async def test_dead_engine_fails_callers_and_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LAST_WORDS_SECONDS", 0.05)
    dead: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def die_while_calling() -> None:
        async with asyncio.timeout(10), served(Slow().register(), dead=dead) as running:
            call = running.stream("Slow")(b"")
            await call.read()
            dead.set_exception(RuntimeError("CUDA"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert running.board.status("liveness") == NOT_SERVING

    with pytest.raises(EngineDiedError) as ended:
        await die_while_calling()

    assert isinstance(ended.value.__cause__, RuntimeError)


async def test_taken_port_is_said_clearly() -> None:
    async with served() as running:
        with pytest.raises(OSError, match=f"cannot listen on {running.address}"):
            await server.serve(
                register({}), address=running.address, board=HealthBoard(), drain_seconds=0, settle_seconds=0
            )


async def test_large_messages_pass() -> None:
    """A voice's features are larger than gRPC's default of 4 MiB."""

    async def echo(request: bytes, _context: Context) -> bytes:
        return request

    message = bytes(8 * 1024 * 1024)
    async with served(register(echo_handlers({"Echo": echo}))) as running:
        assert await running.unary("Echo")(message) == message


async def test_message_over_the_limit_is_refused_with_a_reason() -> None:
    """gRPC's own refusal reads like an overload that is worth another try."""

    async def take(_request: Any, _context: Context) -> bytes:
        return b""

    parse: dict[str, Any] = {"Take": grpc.unary_unary_rpc_method_handler(take, request_deserializer=bytes)}
    message = bytes(MAX_MESSAGE_BYTES + 1)
    async with served(register(parse)) as running, grpc.aio.insecure_channel(running.address) as channel:
        call: Any = channel.unary_unary(f"/{SERVICE}/Take")
        assert await call(message[1:]) == b""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(message)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert grpc_errors.from_rpc_error(caught.value).reason is Reason.MESSAGE_TOO_LARGE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (EngineDiedError("dead"), 1),
        (OSError(98, "cannot listen on 127.0.0.1:1"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        return None

    def run(coroutine: Any) -> None:
        coroutine.close()
        if error is not None:
            raise error

    monkeypatch.setattr(asyncio, "run", run)

    assert server.run(main()) == code
