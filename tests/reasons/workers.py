"""Requests to a worker: what only the gateway can get wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np

from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc
from services.common import tensors
from services.common.reasons import Reason
from services.common.stage.loop import StageLoop
from services.common.stage.servicer import StageServicer
from tests.reasons.failures import Failure, failure_of, failure_of_stream
from tests.reasons.table import Place, reaches
from tests.unit.common.serving import served
from tests.unit.stage.counting_engine import CountingEngine

VOICE = {"total": np.array([1.0], np.float32)}
VOICE_HASH = tensors.digest(VOICE)


@asynccontextmanager
async def worker() -> AsyncIterator[stage_pb2_grpc.StageAsyncStub]:
    """A worker as its process has it, around an engine that counts."""
    loop = StageLoop(CountingEngine(), max_batch_size=1)

    def register(server: grpc.aio.Server) -> list[str]:
        stage_pb2_grpc.add_StageServicer_to_server(StageServicer(loop, worker="w"), server)
        return ["tts.stages.v1.Stage"]

    running = asyncio.create_task(loop.run_forever())
    async with served(register) as serving:
        yield stage_pb2_grpc.StageStub(serving.channel)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@reaches(Reason.WRONG_MODEL, field="model.revision", stage="counting")
async def ask_for_another_revision(_: Place) -> Failure:
    request = stage_pb2.EncodeVoiceRequest(model=stage_pb2.ModelIdentity(revision="r2"), step="sum")
    async with worker() as stage:
        return await failure_of(stage.EncodeVoice(request))


@reaches(Reason.TENSOR_INVALID, field="tensors[audio_22050].data", stage="counting")
async def send_half_a_tensor(_: Place) -> Failure:
    tensor = stage_pb2.Tensor(name="audio_22050", dtype="float32", shape=[2], data=bytes(4))
    async with worker() as stage:
        return await failure_of(stage.EncodeVoice(stage_pb2.EncodeVoiceRequest(step="sum", tensors=[tensor])))


@reaches(Reason.DEADLINE_EXCEEDED, stage="counting", is_utterance=True)
async def come_after_the_deadline(_: Place) -> Failure:
    held = asyncio.Event()

    async def requests() -> AsyncIterator[stage_pb2.RunRequest]:
        late = stage_pb2.Open(utterance_id="u", voice_hash=VOICE_HASH, deadline_unix_ms=1)
        yield stage_pb2.RunRequest(open=late)
        yield stage_pb2.RunRequest(voice=stage_pb2.Voice(tensors=tensors.to_proto(VOICE)))
        await held.wait()

    async with worker() as stage:
        return await failure_of_stream(stage.Run(requests()))
