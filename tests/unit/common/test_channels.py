"""Channels between processes."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from services.common import grpc_errors
from services.common.channels import open_channel
from services.common.errors import StageLostError
from tests.unit.common.serving import Context, echo_handlers, register, served


async def echo(request: bytes, _context: Context) -> bytes:
    return request


async def test_channel_finds_a_worker_that_comes_back() -> None:
    """A worker that was lost is used again by the same channel."""
    add = register(echo_handlers({"Echo": echo}))
    async with served(add) as first:
        address = first.address
    async with open_channel(address) as channel:
        call: Any = channel.unary_unary("/test.Echo/Echo")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert isinstance(grpc_errors.from_rpc_error(caught.value), StageLostError)

        async with served(add, address=address):
            assert await call(b"a", wait_for_ready=True, timeout=5) == b"a"
