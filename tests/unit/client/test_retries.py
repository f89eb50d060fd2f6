"""Refusals that are waited out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic
from typing import Any

import grpc
import pytest
import triptych
from triptych import AsyncClient, Flush, Piece, Retry
from triptych.errors import ErrorDetails
from triptych.retries import Attempts, RetryPolicy

from tests.unit.client.fake_server import CHUNK_SAMPLES, Context, FakeGateway, refuse


class Crowd:
    """Refuses so many calls for now."""

    def __init__(self, refusals: int, *, retry_seconds: float = 0.05, retryable: str = "true") -> None:
        self.left = refusals
        self._retry_seconds = retry_seconds
        self._retryable = retryable

    async def __call__(self, context: Context) -> None:
        if self.left:
            self.left -= 1
            await refuse(
                context,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "full",
                reason="OVERLOADED",
                category="QOS",
                retryable=self._retryable,
                retry_seconds=self._retry_seconds,
            )


async def _pieces(*pieces: Piece) -> AsyncIterator[Piece]:
    for piece in pieces:
        yield piece


async def _whole(client: AsyncClient) -> Any:
    return await client.synthesize("One. Two.", seed=3)


async def _streamed(client: AsyncClient) -> Any:
    return [audio async for audio in client.synthesize_stream("One. Two.", seed=3)]


async def _piecewise(client: AsyncClient) -> Any:
    return [audio async for audio in client.stream_text(_pieces("One", ". Two", Flush(), "."), seed=3)]


@pytest.mark.parametrize("speak", [_whole, _streamed, _piecewise])
async def test_a_refusal_is_waited_out_and_told(
    address: str, gateway: FakeGateway, caplog: pytest.LogCaptureFixture, speak: Any
) -> None:
    told: list[Retry] = []
    gateway.refusal = Crowd(2)
    async with AsyncClient(address, timeout=10, on_retry=told.append) as client:
        with caplog.at_level(logging.WARNING, "triptych"):
            assert await speak(client)

    assert len(gateway.configs) == 3
    assert [retry.attempt for retry in told] == [1, 2]
    assert all(0.05 <= retry.wait_seconds <= 0.075 for retry in told)
    assert all(isinstance(retry.error, triptych.QosError) for retry in told)
    assert [record.getMessage().split(" in ")[0] for record in caplog.records] == [
        "refused with OVERLOADED; attempt 2 of 4 follows",
        "refused with OVERLOADED; attempt 3 of 4 follows",
    ]
    assert "One" not in caplog.text


async def test_text_that_a_refused_call_took_is_sent_again(address: str, gateway: FakeGateway) -> None:
    drawn: list[str] = []

    async def refusal(context: Context) -> None:
        # The text is on its way already.
        while gateway.configs[1:] == [] and len(drawn) < 3:
            await asyncio.sleep(0.001)
        await crowd(context)

    async def pieces() -> AsyncIterator[str]:
        for piece in ("One", ". T", "wo."):
            drawn.append(piece)
            yield piece

    crowd = Crowd(1)
    gateway.refusal = refusal
    async with AsyncClient(address, timeout=10) as client:
        chunks = [audio async for audio in client.stream_text(pieces())]
    assert drawn == ["One", ". T", "wo."]
    assert gateway.received == drawn
    assert chunks[-1].is_last


async def test_patience_has_an_end(address: str, gateway: FakeGateway) -> None:
    gateway.refusal = Crowd(100)
    async with AsyncClient(address, timeout=10, retries=2) as client:
        for speak in (_whole, _streamed, _piecewise):
            with pytest.raises(triptych.QosError, match="full"):
                await speak(client)
    assert len(gateway.configs) == 9


@pytest.mark.parametrize(
    ("refusal", "limits", "deadline"),
    [
        (Crowd(1, retryable="false"), {}, 10),
        (Crowd(1, retry_seconds=0), {}, 10),
        (Crowd(1, retry_seconds=0.9), {"max_retry_wait_seconds": 0.5}, 10),
        (Crowd(1, retry_seconds=0.9), {}, 0.5),
        (Crowd(1), {"retries": 0}, 10),
    ],
    ids=["final", "no hint", "a long wait", "a deadline before", "no patience"],
)
async def test_what_will_not_help_is_not_waited_for(
    address: str, gateway: FakeGateway, refusal: Crowd, limits: Any, deadline: float
) -> None:
    gateway.refusal = refusal
    started = monotonic()
    async with AsyncClient(address, timeout=deadline, **limits) as client:
        for speak in (_whole, _streamed, _piecewise):
            refusal.left = 1
            with pytest.raises(triptych.QosError):
                await speak(client)
    assert len(gateway.configs) == 3
    assert monotonic() - started < 0.5


async def test_audio_that_was_heard_is_not_made_again(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.breaks_after = 1
    for call in (client.synthesize_stream("One."), client.stream_text(_pieces("One."))):
        assert len((await anext(call)).samples) == CHUNK_SAMPLES
        with pytest.raises(triptych.IoError, match="stage gpt is lost") as caught:
            await anext(call)
        assert caught.value.is_retryable
        assert caught.value.retry_after_seconds == pytest.approx(0.01)
    assert len(gateway.configs) == 2


async def test_closing_a_stream_ends_its_wait(address: str, gateway: FakeGateway) -> None:
    refused = asyncio.Event()
    gateway.refusal = Crowd(1, retry_seconds=0.9)
    async with AsyncClient(address, on_retry=lambda retry: refused.set()) as client:
        stream = client.stream_text(_pieces("One."))
        reader = asyncio.ensure_future(anext(stream))
        await refused.wait()
        started = monotonic()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await reader
    assert monotonic() - started < 0.5
    assert len(gateway.configs) == 1


async def test_waits_are_counted_together() -> None:
    told: list[Retry] = []
    attempts = Attempts(RetryPolicy(retries=100, max_wait_seconds=0.3, on_retry=told.append), None)
    error = triptych.QosError("full", ErrorDetails(is_retryable=True, retry_after_seconds=0.05))
    with suppress(triptych.QosError):
        while True:
            await attempts.pause(error)
    assert 3 <= len(told) <= 6
    assert sum(retry.wait_seconds for retry in told) <= 0.3
