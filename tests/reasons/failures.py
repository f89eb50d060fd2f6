"""What a caller sees of a call that failed, read from the wire without the project's own reader."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from triptych.writing import CallOverError, end_writing, write


@dataclass(frozen=True)
class Failure:
    """The end of a call."""

    status: str
    message: str
    domain: str
    reason: str
    metadata: dict[str, str]
    violations: tuple[str, ...]
    """Fields that BadRequest names."""
    retry_seconds: float | None
    """None without RetryInfo."""
    resource: str
    """Type of what was not found; empty without ResourceInfo."""


def read_failure(error: grpc.aio.AioRpcError) -> Failure:
    """Raise AssertionError when the call ended without ErrorInfo."""
    data = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert isinstance(data, bytes)
    status = status_pb2.Status.FromString(data)
    info, bad, retry, resource = (
        _unpacked(status, kind())
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.RetryInfo,
            error_details_pb2.ResourceInfo,
        )
    )
    assert info is not None, f"{error.code()} without ErrorInfo: {error.details()}"
    return Failure(
        status=error.code().name,
        message=error.details() or "",
        domain=info.domain,
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=tuple(each.field for each in bad.field_violations) if bad is not None else (),
        retry_seconds=retry.retry_delay.ToMilliseconds() / 1000 if retry is not None else None,
        resource=resource.resource_type if resource is not None else "",
    )


async def failure_of(answer: Awaitable[object]) -> Failure:
    """How a call ends that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await answer
    return read_failure(ended.value)


async def failure_of_stream(answers: AsyncIterable[object]) -> Failure:
    """How a stream ends that must fail, whatever came before."""
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        async for _ in answers:
            pass
    return read_failure(ended.value)


async def failure_of_messages(call: Any, messages: Iterable[Message]) -> Failure:
    """How a call ends that takes these messages; it may be over before the last of them."""
    with suppress(CallOverError):
        for message in messages:
            await write(call, message)
    await end_writing(call)
    return await failure_of(call if isinstance(call, grpc.aio.StreamUnaryCall) else _read_all(call))


async def _read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


def _unpacked(status: Any, into: Message) -> Any:
    return next((into for detail in status.details if detail.Unpack(into)), None)
