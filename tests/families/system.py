"""One gateway over workers of several families, all on real loopback sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from protos.tts.stages.v1 import stage_pb2_grpc
from protos.tts.v1 import models_pb2_grpc, status_pb2_grpc, synthesis_pb2_grpc, voices_pb2_grpc
from services.common.channels import SERVER_OPTIONS, open_channel
from services.common.grpc_errors import ErrorInterceptor
from services.common.health import HealthBoard, HealthServicer
from services.common.stage.loop import StageLoop
from services.common.stage.servicer import StageServicer
from services.frontend.__main__ import register_servicers, watching
from services.frontend.gateway import Gateway, TextLimits
from services.frontend.recordings.decoder import Decoder, RecordingLimits
from services.frontend.speaking.utterance import PipelineLimits
from services.frontend.voices.registry import Voices
from services.frontend.workers.admission import Admission
from services.frontend.workers.link import STAGE_SERVICE, WorkerLink
from services.frontend.workers.topology import Topology
from tests.families import chime, duet
from tests.families.character_text import CharacterText
from tests.families.chime import ChimeEngine
from tests.families.duet import CodecEngine, TalkerEngine
from tests.families.walking_engine import WalkingEngine

MAX_QUEUE = 1
"""Of each model."""


@dataclass
class Worker:
    """One engine behind the real servicer."""

    engine: WalkingEngine
    loop: StageLoop
    server: grpc.aio.Server
    link: WorkerLink
    """How the gateway sees it."""

    async def kill(self) -> None:
        """End it as a crash would: its calls break off."""
        await self.server.stop(grace=None)


@dataclass
class Families:
    """The workers by stage, the gateway's parts, and stubs of its public services."""

    workers: dict[str, Worker]
    gateway: Gateway
    speech: synthesis_pb2_grpc.TextToSpeechAsyncStub
    voices: voices_pb2_grpc.VoicesAsyncStub
    models: models_pb2_grpc.ModelsAsyncStub
    status: status_pb2_grpc.StatusAsyncStub
    health: Any
    """Stub of grpc.health.v1; the typeshed ones leave its methods out."""


@asynccontextmanager
async def families(directory: Path, *, slots: int = 2) -> AsyncIterator[Families]:
    """Start a worker of each stage and a gateway; yields once all stages are seen.

    Args:
        directory: For voices.
        slots: Of every stage.
    """
    engines = [ChimeEngine(slots=slots), TalkerEngine(slots=slots), CodecEngine(slots=slots)]
    board = HealthBoard()
    gateway, recordings = _gateway(directory, board)

    def register(server: grpc.aio.Server) -> None:
        register_servicers(server, gateway, recordings)
        health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(board), server)

    async with AsyncExitStack() as stack:
        served = [(engine, *await stack.enter_async_context(_served(engine))) for engine in engines]
        addresses = [address for _, _, _, address in served]
        _, address = await stack.enter_async_context(_listening(register))
        links = await stack.enter_async_context(watching(gateway, addresses))
        channel = await stack.enter_async_context(open_channel(address))
        await gateway.topology.changed.until(lambda: all(link.is_up for link in links))
        yield Families(
            workers=_workers(served, links),
            gateway=gateway,
            speech=synthesis_pb2_grpc.TextToSpeechStub(channel),
            voices=voices_pb2_grpc.VoicesStub(channel),
            models=models_pb2_grpc.ModelsStub(channel),
            status=status_pb2_grpc.StatusStub(channel),
            health=health_pb2_grpc.HealthStub(channel),
        )


def _gateway(directory: Path, board: HealthBoard) -> tuple[Gateway, RecordingLimits]:
    recordings = RecordingLimits()
    topology = Topology(chime.MODEL, more_models=[duet.MODEL], on_health=board.set)
    gateway = Gateway(
        topology=topology,
        admission=Admission(max_queue=MAX_QUEUE),
        voices=Voices(directory / "voices", Decoder(recordings), topology, bundled=[]),
        models={
            chime.MODEL: CharacterText(chime.LANGUAGES, max_tokens=chime.MAX_TOKENS),
            duet.MODEL: CharacterText(duet.LANGUAGES, max_tokens=duet.MAX_TOKENS),
        },
        limits=PipelineLimits(text_idle_seconds=0.2),
        text_limits=TextLimits(),
    )
    return gateway, recordings


def _workers(
    served: Sequence[tuple[WalkingEngine, StageLoop, grpc.aio.Server, str]], links: Sequence[WorkerLink]
) -> dict[str, Worker]:
    by_address = {link.address: link for link in links}
    return {
        engine.spec.stage: Worker(engine, loop, server, by_address[address]) for engine, loop, server, address in served
    }


@asynccontextmanager
async def _served(engine: WalkingEngine) -> AsyncIterator[tuple[StageLoop, grpc.aio.Server, str]]:
    loop = StageLoop(engine, max_batch_size=4)
    board = HealthBoard()
    board.set(STAGE_SERVICE, is_serving=True)

    def register(server: grpc.aio.Server) -> None:
        servicer = StageServicer(loop, worker=f"{engine.spec.stage}-1")
        stage_pb2_grpc.add_StageServicer_to_server(servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(board), server)

    running = asyncio.create_task(loop.run_forever())
    try:
        async with _listening(register) as (server, address):
            yield loop, server, address
    finally:
        engine.gate.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def _listening(register: Any) -> AsyncIterator[tuple[grpc.aio.Server, str]]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=SERVER_OPTIONS)
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=None)
