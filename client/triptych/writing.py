"""Writes into a call without losing the status that the server ended it with.

`grpc.aio`'s own write replaces that status by INTERNAL when the write comes a moment too late
(https://github.com/grpc/grpc/issues/36066): most refusals of a long upload would be unreadable.
To be dropped when grpcio keeps the status.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf.message import Message

try:
    from grpc._cython.cygrpc import InternalError as _WriteFailedError  # type: ignore[import-not-found]
except ImportError:  # A later grpcio may have moved it.
    _WriteFailedError = grpc.RpcError


class CallOverError(Exception):
    """The call has ended; its status says why."""


async def write(call: Any, message: Message) -> None:
    """Send `message`.

    Raises:
        CallOverError: if the server has ended the call, or the caller has cancelled it.
    """
    data = message.SerializeToString()
    try:
        await call.wait_for_connection()
        if call.done():
            raise CallOverError
        await call._cython_call.send_serialized_message(data)  # noqa: SLF001 - see above
    except (grpc.RpcError, _WriteFailedError, asyncio.InvalidStateError):
        raise CallOverError from None


async def end_writing(call: Any) -> None:
    """Half-close the call; nothing happens when it is over."""
    try:
        await call.done_writing()
    except (grpc.RpcError, _WriteFailedError, asyncio.InvalidStateError):
        return
