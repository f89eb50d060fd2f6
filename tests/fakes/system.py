"""A whole gateway over real loopback sockets, with fake stages behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import numpy as np
import soundfile
from grpc_health.v1 import health_pb2_grpc

from protos.tts.stages.v1 import stage_pb2_grpc
from protos.tts.v1 import models_pb2_grpc, synthesis_pb2_grpc, voices_pb2_grpc
from services.common.channels import SERVER_OPTIONS, open_channel
from services.common.grpc_errors import ErrorInterceptor
from services.common.health import HealthBoard, HealthServicer
from services.frontend.__main__ import register_servicers, watching
from services.frontend.admission import Admission
from services.frontend.gateway import Gateway, TextLimits
from services.frontend.pipeline import PipelineLimits
from services.frontend.recording import Decoder, RecordingLimits
from services.frontend.text import Encoded, Segment, Segmenter, SegmentPolicy, check_text
from services.frontend.topology import Topology
from services.frontend.voices import Voices
from services.frontend.workers import STAGE_SERVICE, WorkerLink
from tests.fakes.stage_worker import MODEL, FakeStage, describe

Register = Callable[[grpc.aio.Server], object]


class FakeText:
    """The real segmenter over tokens that are the words' lengths; every sentence is a segment."""

    languages: tuple[str, ...] = ("en",)
    default_policy = SegmentPolicy(max_tokens=40, merge_tokens=1, first_merge_tokens=1)
    max_tokens_limit = 40

    def stream(
        self, *, policy: SegmentPolicy | None = None, max_tokens: int | None = None, language: str = ""
    ) -> Segmenter:
        policy = replace(policy or self.default_policy, max_tokens=max_tokens or 40)
        return Segmenter(lambda text: Encoded(tuple(token_ids(text))), policy)

    def segments(
        self,
        text: str,
        *,
        policy: SegmentPolicy | None = None,
        max_tokens: int | None = None,
        language: str = "",
        max_chars: int = 20_000,
    ) -> list[Segment]:
        check_text(text, max_chars=max_chars)
        segmenter = self.stream(policy=policy, max_tokens=max_tokens)
        return [*segmenter.feed(text), *segmenter.end()]

    def whole_text_segments(
        self, text: str, *, max_tokens: int | None = None, quick_tokens: int = 0, max_chars: int = 20_000
    ) -> list[Segment]:
        return self.segments(text, max_tokens=max_tokens, max_chars=max_chars)


def token_ids(text: str) -> list[int]:
    return [len(word) for word in text.split()]


@dataclass
class FakeSystem:
    """The stages, the gateway's parts, and stubs of its public services."""

    stages: dict[str, FakeStage]
    gateway: Gateway
    board: HealthBoard
    address: str
    events: list[tuple[str, str, int]]
    links: Sequence[WorkerLink]
    speech: synthesis_pb2_grpc.TextToSpeechAsyncStub
    voices: voices_pb2_grpc.VoicesAsyncStub
    models: models_pb2_grpc.ModelsAsyncStub
    stops: dict[str, grpc.aio.Server] = field(default_factory=dict)

    async def all_free(self) -> None:
        """Wait until no stage has a stream and the gateway holds no slot."""
        for stage in self.stages.values():
            await stage.until(lambda stage=stage: stage.num_open == 0)  # type: ignore[misc]
        await self.gateway.admission.changed.until(lambda: all(link.leased == 0 for link in self.links))


@asynccontextmanager
async def fake_system(
    directory: Path,
    *,
    slots: int = 2,
    max_queue: int = 4,
    limits: PipelineLimits | None = None,
    text_limits: TextLimits | None = None,
    recordings: RecordingLimits | None = None,
    stages: Sequence[str] = ("gpt", "s2mel", "vocoder"),
) -> AsyncIterator[FakeSystem]:
    """Start the fakes and a gateway; yields once all stages are seen."""
    events: list[tuple[str, str, int]] = []
    fakes = {stage: FakeStage(describe(stage, slots=slots), events) for stage in stages}
    board = HealthBoard()
    topology = Topology(MODEL, on_health=board.set)
    recordings = recordings or RecordingLimits()
    gateway = Gateway(
        topology=topology,
        admission=Admission(max_queue=max_queue),
        voices=Voices(directory / "voices", Decoder(recordings), topology, bundled=bundled(directory)),
        text=FakeText(),
        limits=limits or PipelineLimits(),
        text_limits=text_limits or TextLimits(),
    )
    servers, addresses = {}, []
    for fake in fakes.values():
        servers[fake.stage], address = await _start(_stage_register(fake))
        addresses.append(address)
    server, address = await _start(lambda grpc_server: register_servicers(grpc_server, gateway, recordings))
    try:
        async with watching(gateway, addresses) as links, open_channel(address) as channel:
            await topology.changed.until(lambda: all(link.is_up for link in links))
            yield FakeSystem(
                stages=fakes,
                gateway=gateway,
                board=board,
                address=address,
                events=events,
                links=links,
                speech=synthesis_pb2_grpc.TextToSpeechStub(channel),
                voices=voices_pb2_grpc.VoicesStub(channel),
                models=models_pb2_grpc.ModelsStub(channel),
                stops=servers,
            )
    finally:
        for each in (server, *servers.values()):
            await each.stop(grace=None)


def bundled(directory: Path) -> Path:
    """A directory with one bundled voice, called anna."""
    voices = directory / "model" / "voices"
    voices.mkdir(parents=True, exist_ok=True)
    soundfile.write(voices / "anna.flac", tone(seconds=2.0), 16_000)
    return voices


def tone(*, seconds: float, rate: int = 16_000, hertz: float = 220.0) -> np.typing.NDArray[np.float32]:
    time = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def _stage_register(fake: FakeStage) -> Register:
    def register(server: grpc.aio.Server) -> None:
        stage_pb2_grpc.add_StageServicer_to_server(fake, server)
        board = HealthBoard()
        board.set(STAGE_SERVICE, is_serving=True)
        health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(board), server)

    return register


async def _start(register: Register) -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=SERVER_OPTIONS)
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"
