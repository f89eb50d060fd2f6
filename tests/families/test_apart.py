"""What happens to one model's workers leaves the other model unharmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from google.rpc import status_pb2 as rpc_status_pb2
from grpc_health.v1 import health_pb2

from protos.tts.v1 import status_pb2, synthesis_pb2
from tests.families import chime, duet
from tests.families.asking import error_info, request
from tests.families.system import MAX_QUEUE, Families, families

TEXT = "Over the hills and far away. Nobody came."
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
OTHER = {chime.MODEL: duet.MODEL, duet.MODEL: chime.MODEL}
LAST_STAGE = {chime.MODEL: "chime", duet.MODEL: "codec"}


@pytest.fixture
async def fragile(tmp_path: Path) -> AsyncIterator[Families]:
    """One that a test may break; one slot each."""
    async with families(tmp_path, slots=1) as started:
        yield started


async def health(system: Families, name: str) -> int:
    return int((await system.health.Check(health_pb2.HealthCheckRequest(service=name))).status)


async def speak(system: Families, model: str) -> bytes:
    return (await system.speech.Synthesize(request(TEXT, model=model))).audio


@pytest.mark.parametrize("model", OTHER)
async def test_a_model_that_is_full_refuses_while_the_other_speaks(fragile: Families, model: str) -> None:
    other, worker = OTHER[model], fragile.workers[LAST_STAGE[model]]
    admission = fragile.gateway.admission
    alone = {name: await speak(fragile, name) for name in OTHER}
    worker.engine.gate.clear()
    first = asyncio.create_task(speak(fragile, model))
    await admission.changed.until(lambda: worker.link.leased == 1)
    waiting = asyncio.create_task(speak(fragile, model))
    await admission.changed.until(lambda: admission.queue_depth == MAX_QUEUE)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await speak(fragile, model)
    beside = await asyncio.wait_for(speak(fragile, other), 10)
    worker.engine.gate.set()

    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_info(failure.value)["reason"] == "OVERLOADED"
    assert _has_retry_info(failure.value)
    assert beside == alone[other]
    assert {await first, await waiting} == {alone[model]}


async def test_each_model_has_a_queue_of_its_own(fragile: Families) -> None:
    admission = fragile.gateway.admission
    for worker in fragile.workers.values():
        worker.engine.gate.clear()
    calls = {model: [asyncio.create_task(speak(fragile, model)) for _ in range(1 + MAX_QUEUE)] for model in OTHER}
    await admission.changed.until(lambda: admission.queue_depth == 2 * MAX_QUEUE)
    for worker in fragile.workers.values():
        worker.engine.gate.set()
    audio = {model: await asyncio.gather(*each) for model, each in calls.items()}

    assert {len(set(each)) for each in audio.values()} == {1}
    assert audio[chime.MODEL][0] != audio[duet.MODEL][0]


@pytest.mark.parametrize("model", OTHER)
async def test_a_lost_worker_ends_its_own_models_streams_alone(fragile: Families, model: str) -> None:
    other, worker = OTHER[model], fragile.workers[LAST_STAGE[model]]
    alone = await speak(fragile, other)
    for each in fragile.workers.values():
        each.engine.gate.clear()
    broken, going = (asyncio.create_task(_stream(fragile, name)) for name in (model, other))
    leased = [each.link for each in fragile.workers.values()]
    await fragile.gateway.admission.changed.until(lambda: all(link.leased == 1 for link in leased))
    await worker.kill()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await broken
    for each in fragile.workers.values():
        each.engine.gate.set()

    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    info = error_info(failure.value)
    assert (info["reason"], info["retryable"], info["stage"]) == ("STAGE_LOST", "true", worker.link.about.stage)  # type: ignore[union-attr]
    assert await asyncio.wait_for(going, 10) == alone
    await fragile.gateway.topology.changed.until(lambda: not fragile.gateway.topology.is_serving(model))
    with pytest.raises(grpc.aio.AioRpcError) as later:
        await speak(fragile, model)
    assert error_info(later.value)["reason"] == "STAGE_LOST"
    assert await speak(fragile, other) == alone


async def test_health_has_a_name_for_each_stage(fragile: Families) -> None:
    names = ("stage.chime", "stage.talker", "stage.codec", "tts.v1.TextToSpeech")
    assert [await health(fragile, name) for name in names] == [SERVING] * 4

    await fragile.workers["codec"].kill()
    await fragile.gateway.topology.changed.until(lambda: not fragile.gateway.topology.is_serving(duet.MODEL))
    # The default model is chime: as long as it is there, the service is.
    assert [await health(fragile, name) for name in names] == [SERVING, SERVING, NOT_SERVING, SERVING]

    await fragile.workers["chime"].kill()
    await fragile.gateway.topology.changed.until(lambda: not fragile.gateway.topology.is_serving())
    assert [await health(fragile, name) for name in names] == [NOT_SERVING, SERVING, NOT_SERVING, NOT_SERVING]
    with pytest.raises(grpc.aio.AioRpcError):
        await health(fragile, "stage.gpt")


async def test_status_tells_both_models_and_what_is_lost(fragile: Families) -> None:
    await fragile.workers["talker"].kill()
    await fragile.gateway.topology.changed.until(lambda: not fragile.gateway.topology.is_serving(duet.MODEL))
    told = await fragile.status.Get(status_pb2.GetStatusRequest())

    assert told.is_serving
    assert [(model.name, model.is_default, model.is_serving) for model in told.models] == [
        ("chime", True, True),
        ("duet", False, False),
    ]
    states = {stage.name: stage.workers[0].state for model in told.models for stage in model.stages}
    assert states == {
        "chime": status_pb2.WORKER_STATE_SERVING,
        "talker": status_pb2.WORKER_STATE_LOST,
        "codec": status_pb2.WORKER_STATE_SERVING,
    }
    assert told.max_queue == 2 * MAX_QUEUE


async def test_all_slots_are_free_when_callers_have_left(fragile: Families) -> None:
    for worker in fragile.workers.values():
        worker.engine.gate.clear()
    calls = [fragile.speech.SynthesizeStream(request(TEXT, model=model)) for model in OTHER]
    links = [worker.link for worker in fragile.workers.values()]
    await fragile.gateway.admission.changed.until(lambda: all(link.leased == 1 for link in links))
    for call in calls:
        call.cancel()
    for worker in fragile.workers.values():
        worker.engine.gate.set()
    await fragile.gateway.admission.changed.until(lambda: all(link.leased == 0 for link in links))

    async with asyncio.timeout(5):
        while any(worker.loop.free_slots < 1 for worker in fragile.workers.values()):
            await asyncio.sleep(0.01)


async def _stream(system: Families, model: str) -> bytes:
    call = system.speech.SynthesizeStream(request(TEXT, model=model))
    chunks: list[synthesis_pb2.AudioChunk] = [chunk async for chunk in call]
    return b"".join(chunk.audio for chunk in chunks)


def _has_retry_info(error: grpc.aio.AioRpcError) -> bool:
    status = rpc_status_pb2.Status.FromString(dict(error.trailing_metadata() or ())["grpc-status-details-bin"])
    return any(detail.Unpack(error_details_pb2.RetryInfo()) for detail in status.details)
