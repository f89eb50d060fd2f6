"""Puts an async context manager around every kind of gRPC handler; shared by the server's interceptors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from services.common.channels import MAX_MESSAGE_BYTES
from services.common.errors import InvalidRequestError, TooLargeError
from services.common.reasons import Reason

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
LAST_WRITE_SECONDS = 0.5
"""How long an ended call's message may take to leave; only a client that does not read needs any of it."""

Guard = Callable[[Context], AbstractAsyncContextManager[None]]
Parse = Callable[[bytes], Any]


def guarded(handler: Handler | None, guard: Guard) -> Handler | None:
    """Return `handler` with `guard` around each of its calls; None, an unknown method, stays None.

    Requests are weighed and parsed inside the guard: grpc.aio itself ends a call whose request is no message with
    UNKNOWN, and one whose request is too large with RESOURCE_EXHAUSTED, as if coming again would help.
    """
    if handler is None:
        return None
    make, method = _shape(handler)
    if handler.request_deserializer is not None:
        method = _parsing(method, handler.request_deserializer, is_stream=bool(handler.request_streaming))
    around = _around_stream(method, guard) if handler.response_streaming else _around_unary(method, guard)
    wrapped: Handler = make(
        around,
        request_deserializer=None,
        response_serializer=handler.response_serializer,
    )
    return wrapped


def _shape(handler: Handler) -> tuple[Callable[..., Any], Callable[..., Any]]:
    kinds: dict[tuple[bool, bool], tuple[Callable[..., Any], Any]] = {
        (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
    }
    return kinds[bool(handler.request_streaming), bool(handler.response_streaming)]


def _parsing(method: Callable[..., Any], parse: Parse, *, is_stream: bool) -> Callable[..., Any]:
    def call(data: Any, context: Context) -> Any:
        return method(_Parsed(data, parse) if is_stream else _parsed(data, parse), context)

    return call


class _Parsed:
    """A call's messages; a plain iterator, since a generator that is left early waits for the garbage collector."""

    def __init__(self, messages: AsyncIterator[bytes], parse: Parse) -> None:
        # Not iterated yet: grpc.aio complains of an iterator that was made and never used.
        self._messages = messages
        self._parse = parse

    def __aiter__(self) -> _Parsed:
        return self

    async def __anext__(self) -> Any:
        return _parsed(await anext(self._messages), self._parse)


def _parsed(data: bytes, parse: Parse) -> Any:
    if len(data) > MAX_MESSAGE_BYTES:
        raise TooLargeError(
            f"the message has {len(data)} bytes; at most {MAX_MESSAGE_BYTES} are allowed",
            field="request",
            reason=Reason.MESSAGE_TOO_LARGE,
        )
    try:
        return parse(data)
    except (DecodeError, ValueError):
        raise InvalidRequestError(
            "the request is not a message of this method; its strings must be UTF-8",
            field="request",
            reason=Reason.NOT_DECODABLE,
        ) from None


def _around_unary(method: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    async def call(request: Any, context: Context) -> Any:
        async with guard(context):
            return await method(request, context)

    return call


def _around_stream(method: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    # A coroutine that writes, not a generator: grpc.aio leaves a generator that is cancelled between two
    # messages to the garbage collector, so its `finally` would run late, in another task and context.
    async def call(request: Any, context: Context) -> None:
        async with guard(context):
            answers = method(request, context)
            if inspect.isawaitable(answers):
                await answers
            else:
                await _write_all(answers, context)

    return call


async def _write_all(answers: AsyncGenerator[Any, None], context: Context) -> None:
    async with aclosing(answers):
        async for answer in answers:
            await _write(answer, context)


async def _write(answer: Any, context: Context) -> None:
    # No status can be sent while a message is on its way; a call ended just then would end without one.
    writing = asyncio.ensure_future(context.write(answer))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing], timeout=LAST_WRITE_SECONDS)
        writing.cancel()
        raise
