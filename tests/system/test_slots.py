"""Nothing is left running: hang-ups, deadlines and overload, seen from the workers' slot counts."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from triptych import AsyncClient, DeadlineError, QosError

from bench.local import LocalSystem
from protos.tts.v1 import synthesis_pb2, synthesis_pb2_grpc
from tests.system.conftest import LONG_TEXT, QUEUE, QUICK, SLOTS, TEXT, Slots, metrics_of


async def test_a_cancelled_call_frees_every_stage(channel: grpc.aio.Channel, slots: Slots) -> None:
    call = synthesis_pb2_grpc.TextToSpeechStub(channel).SynthesizeStream(
        synthesis_pb2.SynthesizeRequest(text=LONG_TEXT * 3)
    )
    await call.read()
    await slots.until_taken()
    call.cancel()
    steps = await slots.until_free()

    assert steps["gpt_worker"] < 100, "the GPT went on after the hang-up"


async def test_a_lost_connection_frees_every_stage(system: LocalSystem, slots: Slots) -> None:
    connected = grpc.aio.insecure_channel(system.address)
    call = synthesis_pb2_grpc.TextToSpeechStub(connected).SynthesizeStream(
        synthesis_pb2.SynthesizeRequest(text=LONG_TEXT * 3)
    )
    await call.read()
    await slots.until_taken()
    await connected.close()
    await slots.until_free()


async def test_a_passed_deadline_frees_every_stage(client: AsyncClient, slots: Slots) -> None:
    with pytest.raises(DeadlineError):
        async for _ in client.synthesize_stream(LONG_TEXT * 5, timeout=1.0):
            pass
    await slots.until_free()


async def until_queued(system: LocalSystem, depth: int) -> None:
    """Wait until so many utterances wait for a slot."""
    async with asyncio.timeout(30):
        while f"tts_queue_depth {float(depth)}" not in await asyncio.to_thread(metrics_of, system, "frontend"):
            await asyncio.sleep(0.02)


async def test_a_full_house_refuses_with_a_retry_hint(system: LocalSystem, client: AsyncClient, slots: Slots) -> None:
    """Slots and queue are taken; one more is refused at once, and the others are served."""
    await slots.until_free()
    places = SLOTS + QUEUE
    calls = [asyncio.create_task(client.synthesize(LONG_TEXT, seed=1, render=QUICK)) for _ in range(places)]
    await until_queued(system, QUEUE)
    async with AsyncClient(system.address, timeout=60, retries=0) as impatient:
        with pytest.raises(QosError) as refusal:
            await impatient.synthesize(TEXT)
    speeches = await asyncio.gather(*calls)

    assert (refusal.value.retry_after_seconds or 0) > 0
    assert len({speech.samples.tobytes() for speech in speeches}) == 1
    await slots.until_free()
