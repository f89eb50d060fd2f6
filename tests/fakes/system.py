"""A whole gateway over real loopback sockets, with fake stages behind it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import numpy as np
import soundfile
from grpc_health.v1 import health_pb2_grpc

from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc
from protos.tts.v1 import models_pb2_grpc, status_pb2_grpc, synthesis_pb2_grpc, voices_pb2_grpc
from services.common.channels import SERVER_OPTIONS, open_channel
from services.common.grpc_errors import ErrorInterceptor
from services.common.health import HealthBoard, HealthServicer
from services.frontend.__main__ import register_servicers, watching
from services.frontend.gateway import Gateway, TextLimits
from services.frontend.recordings.decoder import Decoder, RecordingLimits
from services.frontend.request.resolver import RequestRules
from services.frontend.speaking.utterance import PipelineLimits
from services.frontend.text import (
    Encoded,
    Segment,
    Segmenter,
    SegmentPolicy,
    TextOptions,
    TextWarning,
    TextWarningReason,
    Token,
    check_text,
)
from services.frontend.text.options import check_glossary, check_language, check_rules
from services.frontend.voices.registry import Voices
from services.frontend.workers.admission import Admission
from services.frontend.workers.link import STAGE_SERVICE, WorkerLink
from services.frontend.workers.topology import Topology
from tests.fakes.stage_worker import FakeStage, describe

NO_OPTIONS = TextOptions()
Register = Callable[[grpc.aio.Server], object]


class FakeText:
    """The real segmenter over tokens that are the words' lengths; every sentence is a segment."""

    rules: tuple[str, ...] = ("shout",)
    default_policy = SegmentPolicy(max_tokens=40, merge_tokens=1, first_merge_tokens=1)
    max_tokens_limit = 40

    def __init__(self, languages: tuple[str, ...] = ("en",)) -> None:
        self.languages = languages

    def check_options(self, options: TextOptions) -> None:
        check_language(options.language, self.languages)
        check_rules(options.disabled_rules, self.rules)
        check_glossary(options.glossary)

    def check_text(
        self, text: str, options: TextOptions = NO_OPTIONS, *, policy: SegmentPolicy | None = None, field: str = "text"
    ) -> None:
        pass

    def detect(self, text: str) -> str:
        return self.languages[0]

    def stream(self, options: TextOptions = NO_OPTIONS, *, policy: SegmentPolicy | None = None) -> Segmenter:
        policy = replace(policy or self.default_policy, max_tokens=options.max_tokens or 40)
        return Segmenter(lambda text: self._encode(text, options), policy)

    def segments(
        self,
        text: str,
        options: TextOptions = NO_OPTIONS,
        *,
        policy: SegmentPolicy | None = None,
        max_chars: int = 20_000,
    ) -> list[Segment]:
        check_text(text, max_chars=max_chars)
        segmenter = self.stream(options, policy=policy)
        return [*segmenter.feed(text), *segmenter.end()]

    def whole_text_segments(
        self, text: str, options: TextOptions = NO_OPTIONS, *, quick_tokens: int = 0, max_chars: int = 20_000
    ) -> list[Segment]:
        return self.segments(text, options, max_chars=max_chars)

    def _encode(self, text: str, options: TextOptions) -> Encoded:
        words = [(match[0], match.start(), match.end()) for match in re.finditer(r"\S+", text)]
        return Encoded(
            tuple(Token(len(word), word.upper(), start, end) for word, start, end in words),
            normalized=text if "shout" in options.disabled_rules else text.upper(),
            language=options.language or self.detect(text),
            warnings=tuple(
                TextWarning(TextWarningReason.UNKNOWN_CHARACTER, "not known", match.start(), match.end())
                for match in re.finditer("#", text)
            ),
        )


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
    status: status_pb2_grpc.StatusAsyncStub
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
    abouts: Sequence[stage_pb2.DescribeResponse] = (),
    rules: RequestRules | None = None,
) -> AsyncIterator[FakeSystem]:
    """Start the fakes and a gateway; yields once all stages are seen.

    Args:
        directory: For voices.
        slots: Of every stage.
        max_queue: Of every model.
        limits: Of an utterance.
        text_limits: Of a call's text.
        recordings: Limits of recordings.
        stages: Names of the stages of the only model.
        abouts: Instead of `stages`: what each stage says of itself; the first one's model is the default.
        rules: What the operator decides.
    """
    events: list[tuple[str, str, int]] = []
    abouts = abouts or [describe(stage, slots=slots) for stage in stages]
    fakes = {about.stage: FakeStage(about, events) for about in abouts}
    board = HealthBoard()
    models = {about.model.name: FakeText() for about in abouts}
    default_model, *more_models = models
    topology = Topology(default_model, more_models=more_models, on_health=board.set)
    recordings = recordings or RecordingLimits()
    gateway = Gateway(
        topology=topology,
        admission=Admission(max_queue=max_queue),
        voices=Voices(directory / "voices", Decoder(recordings), topology, bundled=[bundled(directory)]),
        models=models,
        limits=limits or PipelineLimits(),
        text_limits=text_limits or TextLimits(),
        rules=rules or RequestRules(),
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
                status=status_pb2_grpc.StatusStub(channel),
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
