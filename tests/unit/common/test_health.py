"""Health names, as kubelets and load balancers see them."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.health import NOT_SERVING, SERVICE_UNKNOWN, SERVING, HealthBoard
from tests.unit.common.serving import SERVICE, Served, served


def stub(server: Served) -> health_pb2_grpc.HealthStub:
    return health_pb2_grpc.HealthStub(server.channel)


async def check(server: Served, name: str) -> int:
    request = health_pb2.HealthCheckRequest(service=name)
    return int((await stub(server).Check(request)).status)  # type: ignore[attr-defined]


async def test_all_names_serve_once_the_server_listens() -> None:
    async with served() as server:
        for name in ("", "liveness", "readiness", "startup", SERVICE, "grpc.health.v1.Health"):
            assert await check(server, name) == SERVING


async def test_names_that_the_caller_set_are_left_alone() -> None:
    """The gateway's own service waits for its stages."""
    board = HealthBoard()
    board.set(SERVICE, False)

    async with served(board=board) as server:
        assert await check(server, SERVICE) == NOT_SERVING
        assert await check(server, "readiness") == SERVING


async def test_unknown_name_is_not_found() -> None:
    async with served() as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(server, "nobody")

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    # Probes expect the bare status; our reasons tell of voices, models and recordings.
    assert "grpc-status-details-bin" not in dict(caught.value.trailing_metadata() or ())


async def test_list_names_them_all() -> None:
    async with served() as server:
        server.board.set("stage.gpt", False)
        answer = await stub(server).List(health_pb2.HealthListRequest())  # type: ignore[attr-defined]

    assert {"", "liveness", "readiness", "startup", SERVICE, "stage.gpt"} <= set(answer.statuses)
    assert answer.statuses["stage.gpt"].status == NOT_SERVING


async def test_watch_answers_at_once_and_on_each_change() -> None:
    async with served() as server:
        call = stub(server).Watch(health_pb2.HealthCheckRequest(service="stage.gpt"))  # type: ignore[attr-defined]
        seen = [(await call.read()).status]
        for is_serving in (True, False):
            server.board.set("stage.gpt", is_serving)
            seen.append((await call.read()).status)

    assert seen == [SERVICE_UNKNOWN, SERVING, NOT_SERVING]


async def test_watch_does_not_hold_up_the_end() -> None:
    """A load balancer's watch is no work to wait for."""
    async with asyncio.timeout(4), served(drain_seconds=60) as server:
        call = stub(server).Watch(health_pb2.HealthCheckRequest(service=""))  # type: ignore[attr-defined]
        assert (await call.read()).status == SERVING
        server.stop.set()
        assert (await call.read()).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_shutdown_keeps_liveness_and_cannot_be_undone() -> None:
    board = HealthBoard()
    for name in ("", "liveness", "readiness", "startup", SERVICE):
        board.set(name, True)

    board.enter_shutdown()
    board.set("readiness", True)
    board.set("stage.gpt", True)

    assert board.status("liveness") == board.status("startup") == SERVING
    assert {board.status(name) for name in ("", "readiness", SERVICE)} == {NOT_SERVING}
    assert board.status("stage.gpt") is None


def test_giving_up_turns_liveness_too() -> None:
    board = HealthBoard()
    board.set("liveness", True)

    board.give_up()

    assert board.status("liveness") == NOT_SERVING


async def test_watch_merges_changes_that_nobody_read() -> None:
    board = HealthBoard()
    statuses = board.watch("x")
    first = await anext(statuses)
    for is_serving in (False, True, False, True):
        board.set("x", is_serving)

    assert (first, await anext(statuses)) == (SERVICE_UNKNOWN, SERVING)
    await statuses.aclose()
