"""The gateway's voices over real loopback sockets, with fake stages behind them and nothing else of a gateway."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import soundfile
from grpc_health.v1 import health_pb2_grpc
from triptych.writing import CallOverError, end_writing, write

from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc
from protos.tts.v1 import voices_pb2, voices_pb2_grpc
from services.common.channels import SERVER_OPTIONS, open_channel
from services.common.grpc_errors import ErrorInterceptor
from services.common.health import HealthBoard, HealthServicer
from services.frontend.recordings.decoder import Decoder, RecordingLimits
from services.frontend.servicers.voices import VoicesServicer
from services.frontend.voices.registry import Voices
from services.frontend.workers.link import STAGE_SERVICE, WorkerLink
from services.frontend.workers.topology import Pipeline, Topology
from tests.fakes.stage_worker import MODEL, FakeStage, describe

Create = voices_pb2.CreateVoiceRequest


@dataclass
class VoiceSystem:
    """The voices, a stub of their service, and the stages that compute features."""

    voices: Voices
    stub: voices_pb2_grpc.VoicesAsyncStub
    topology: Topology
    stages: dict[str, FakeStage] = field(default_factory=dict)

    @property
    def pipeline(self) -> Pipeline:
        return self.topology.pipeline()

    @property
    def steps(self) -> list[str]:
        """Names of the voice steps that were computed, of one stage after the other."""
        return [step for stage in self.stages.values() for step in stage.encoded]


@asynccontextmanager
async def voice_system(
    directory: Path,
    *,
    abouts: Sequence[stage_pb2.DescribeResponse] | None = None,
    model_voices: Path | None = None,
    watched: Path | None = None,
    default: str = "",
    recordings: RecordingLimits | None = None,
) -> AsyncIterator[VoiceSystem]:
    """Start stages and a gateway that has voices alone; one voice, anna, is bundled unless said."""
    if abouts is None:
        abouts = [describe(stage) for stage in ("gpt", "s2mel", "vocoder")]
    recordings = recordings or RecordingLimits()
    topology = Topology(MODEL, on_health=lambda name, is_serving: None)
    topology.update()
    voices = Voices(
        directory / "voices",
        Decoder(recordings),
        topology,
        bundled=[model_voices or bundled(directory), directory / "another" / "voices"],
        directory=watched,
        default=default,
    )
    stages = [FakeStage(about, []) for about in abouts]
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(_served_stage(stage)) for stage in stages]
        links = [WorkerLink(each, open_channel(each), on_change=topology.update) for each in addresses]
        topology.watch(links)
        for work in (*(link.watch() for link in links), voices.run()):
            stack.push_async_callback(_stop, asyncio.create_task(work))
        for link in links:
            stack.push_async_callback(link.close)
        server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=SERVER_OPTIONS)
        voices_pb2_grpc.add_VoicesServicer_to_server(VoicesServicer(voices, recordings), server)
        channel = await stack.enter_async_context(open_channel(await stack.enter_async_context(_started(server))))
        await topology.changed.until(lambda: all(link.is_up for link in links))
        yield VoiceSystem(
            voices, voices_pb2_grpc.VoicesStub(channel), topology, {stage.stage: stage for stage in stages}
        )


def bundled(directory: Path) -> Path:
    """A directory with one bundled voice, called anna."""
    voices = directory / "model" / "voices"
    voices.mkdir(parents=True, exist_ok=True)
    (voices / "anna.flac").write_bytes(recording(220.0))
    return voices


def recording(hertz: float = 300.0, *, seconds: float = 2.0, kind: str = "FLAC") -> bytes:
    """A file with a tone."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    file = io.BytesIO()
    soundfile.write(file, (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32), 16_000, format=kind)
    return file.getvalue()


def upload(
    name: str, data: bytes, *, piece: int = 1000, transcript: str = "", description: str = ""
) -> Iterator[Create]:
    yield Create(config=voices_pb2.CreateVoiceConfig(name=name, transcript=transcript, description=description))
    for start in range(0, len(data), piece):
        yield Create(audio=data[start : start + piece])


async def create(stub: Any, messages: Iterable[Create]) -> voices_pb2.Voice:
    """Upload, and fail as the server says: grpc.aio's own writer may lose the status of a call that is refused."""
    call = stub.Create()
    with suppress(CallOverError):
        for message in messages:
            await write(call, message)
    await end_writing(call)
    voice: voices_pb2.Voice = await call
    return voice


@asynccontextmanager
async def _served_stage(stage: FakeStage) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=SERVER_OPTIONS)
    stage_pb2_grpc.add_StageServicer_to_server(stage, server)
    board = HealthBoard()
    board.set(STAGE_SERVICE, is_serving=True)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(board), server)
    async with _started(server) as address:
        yield address


@asynccontextmanager
async def _started(server: grpc.aio.Server) -> AsyncIterator[str]:
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=None)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
