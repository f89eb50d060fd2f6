"""Who is let in, over a real socket and behind the interceptors that every process has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.common import errors
from services.common.grpc_errors import from_rpc_error
from services.common.reasons import Category, Reason
from services.common.tokens import TokenInterceptor
from tests.unit.common.serving import Context, Served, echo_handlers, register, served

TOKEN = "s3cret-t0ken"
GOOD = (("authorization", f"Bearer {TOKEN}"),)

Metadata = Sequence[tuple[str, str]]


@pytest.fixture
async def guarded() -> AsyncIterator[Served]:
    async def once(request: bytes, context: Context) -> bytes:
        return request

    async def twice(request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield request
        yield request

    async def back(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    handlers: dict[str, Any] = {
        **echo_handlers({"Once": once}),
        **echo_handlers({"Twice": twice}, streaming=True),
        "Back": grpc.stream_stream_rpc_method_handler(back),
    }
    async with served(register(handlers), interceptors=[TokenInterceptor(TOKEN)]) as running:
        yield running


def back_call(running: Served) -> Any:
    return running.channel.stream_stream("/test.Echo/Back")


async def refusal(call: Any) -> errors.TtsError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return from_rpc_error(raised.value)


async def test_the_token_opens_every_kind_of_call(guarded: Served) -> None:
    assert await guarded.unary("Once")(b"hello", metadata=GOOD) == b"hello"
    assert [part async for part in guarded.stream("Twice")(b"hello", metadata=GOOD)] == [b"hello"] * 2
    both_ways = back_call(guarded)(iter([b"a", b"b"]), metadata=GOOD)
    assert [part async for part in both_ways] == [b"a", b"b"]


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", TOKEN),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", f"Basic {TOKEN}"),),
        (("authorization", f"Bearer {TOKEN[:-1]}"),),
        (("authorization", f"Bearer {TOKEN}x"),),
        (("authorization", f"Bearer {TOKEN.upper()}"),),
        (("x-authorization", f"Bearer {TOKEN}"),),
        (("authorization", "Bearer wrong"), *GOOD),
    ],
)
async def test_anything_else_is_refused_with_details(guarded: Served, metadata: Metadata) -> None:
    error = await refusal(guarded.unary("Once")(b"hello", metadata=metadata))

    assert isinstance(error, errors.UnauthenticatedError)
    assert error.reason is Reason.UNAUTHENTICATED
    assert error.reason.category is Category.CONFIG
    assert error.field == "authorization"
    assert not error.is_retryable
    assert "Bearer TOKEN" in error.message
    assert TOKEN not in error.message


async def test_streams_are_refused_before_they_send_anything(guarded: Served) -> None:
    assert await refusal(anext(aiter(guarded.stream("Twice")(b"hello"))))
    assert await refusal(anext(aiter(back_call(guarded)(iter([b"a"])))))


async def test_the_scheme_is_written_as_one_likes(guarded: Served) -> None:
    assert await guarded.unary("Once")(b"hello", metadata=(("authorization", f"bearer {TOKEN}"),)) == b"hello"


async def test_health_needs_no_token(guarded: Served) -> None:
    stub: Any = health_pb2_grpc.HealthStub(guarded.channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await anext(aiter(watch))).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


async def test_reflection_needs_it(guarded: Served) -> None:
    # types-grpcio-reflection knows synchronous channels only.
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(guarded.channel)  # type: ignore[arg-type]
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    assert await refusal(anext(aiter(stub.ServerReflectionInfo(iter(asked)))))
    answer = await anext(aiter(stub.ServerReflectionInfo(iter(asked), metadata=GOOD)))
    assert "test.Echo" in [service.name for service in answer.list_services_response.service]


async def test_an_empty_token_lets_everyone_in() -> None:
    async def once(request: bytes, context: Context) -> bytes:
        return request

    handlers = echo_handlers({"Once": once})
    async with served(register(handlers), interceptors=[TokenInterceptor("")]) as running:
        assert await running.unary("Once")(b"hello") == b"hello"
        assert await running.unary("Once")(b"hello", metadata=(("authorization", "Bearer any"),)) == b"hello"
