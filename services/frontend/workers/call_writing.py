"""Writes into a call without losing the status that the worker ended it with.

`grpc.aio`'s own writing replaces that status by INTERNAL when a message comes a moment too late
(https://github.com/grpc/grpc/issues/36066): a worker's refusal would read as its loss.
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


async def write_all(call: Any, outgoing: asyncio.Queue[Any]) -> None:
    """Send messages of a queue until it gives None, then half-close; return early when the call is over."""
    try:
        await call.wait_for_connection()
        while (message := await outgoing.get()) is not None and not call.done():
            await call._cython_call.send_serialized_message(_bytes(message))  # noqa: SLF001 - see above
        await call.done_writing()
    except (grpc.RpcError, _WriteFailedError, asyncio.InvalidStateError):
        # The reader learns from the call's status why.
        return


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()
