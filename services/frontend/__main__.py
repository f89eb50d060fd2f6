"""Run the gateway: `python -m services.frontend`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence

import grpc
import structlog

from protos.tts.v1 import models_pb2_grpc, status_pb2_grpc, synthesis_pb2_grpc, voices_pb2_grpc
from services.common import logs, metrics, server, traces
from services.common.channels import open_channel
from services.common.checkpoint import CheckpointError
from services.common.errors import TtsError
from services.common.health import HealthBoard
from services.common.settings import load_settings
from services.common.tokens import TokenInterceptor
from services.frontend.background import keep_running
from services.frontend.gateway import Gateway, TextLimits
from services.frontend.models import EXPECTED_STAGES, load_models
from services.frontend.recordings.decoder import Decoder, RecordingLimits
from services.frontend.request.resolver import RequestRules
from services.frontend.servicers.models import ModelsServicer
from services.frontend.servicers.speech import SpeechServicer
from services.frontend.servicers.status import StatusServicer
from services.frontend.servicers.voices import VoicesServicer
from services.frontend.settings import FrontendSettings
from services.frontend.speaking.utterance import PipelineLimits
from services.frontend.voices.registry import Voices
from services.frontend.workers.admission import Admission
from services.frontend.workers.link import WorkerLink
from services.frontend.workers.topology import Topology

logger = structlog.get_logger(__name__)

SERVICES = ("tts.v1.TextToSpeech", "tts.v1.Voices", "tts.v1.Models", "tts.v1.Status")


def build_gateway(settings: FrontendSettings, board: HealthBoard) -> tuple[Gateway, RecordingLimits]:
    """Wire everything that does not need a connection.

    Raises:
        CheckpointError: A model directory cannot be used.
        TtsError: The default voice or the directory of voices does not exist.
    """
    models = load_models(settings.model_dirs)
    default_model, *more_models = models
    topology = Topology(default_model, more_models=more_models, on_health=board.set, expected_stages=EXPECTED_STAGES)
    topology.update()
    recordings = recording_limits(settings)
    voices = Voices(
        settings.voice_store,
        Decoder(recordings),
        topology,
        bundled=[model / "voices" for model in settings.model_dirs],
        directory=settings.voices_dir,
        default=settings.default_voice,
    )
    gateway = Gateway(
        topology=topology,
        admission=Admission(max_queue=settings.max_queue),
        voices=voices,
        models=models,
        limits=pipeline_limits(settings),
        text_limits=TextLimits(
            max_unary_characters=settings.max_unary_characters,
            max_stream_characters=settings.max_stream_characters,
            stream_idle_seconds=settings.stream_idle_seconds,
            max_streams=settings.max_streams,
        ),
        rules=RequestRules(
            max_inline_voice_bytes=settings.max_inline_voice_bytes,
            priority_interactive=settings.priority_interactive,
            priority_batch=settings.priority_batch,
            default_policy=settings.default_policy,
        ),
    )
    return gateway, recordings


def recording_limits(settings: FrontendSettings) -> RecordingLimits:
    return RecordingLimits(
        max_bytes=settings.max_voice_bytes,
        memory_bytes=settings.decode_memory_mb << 20,
        decode_seconds=settings.decode_seconds,
        max_uploads=settings.max_uploads,
        upload_idle_seconds=settings.upload_idle_seconds,
    )


def pipeline_limits(settings: FrontendSettings) -> PipelineLimits:
    return PipelineLimits(
        text_idle_seconds=settings.text_idle_seconds,
        client_lead_seconds=settings.client_lead_seconds,
        stage_lead_seconds=settings.stage_lead_seconds,
        client_stall_seconds=settings.client_stall_seconds,
        open_retry_seconds=settings.open_retry_seconds,
    )


def register_servicers(grpc_server: grpc.aio.Server, gateway: Gateway, recordings: RecordingLimits) -> Sequence[str]:
    """Add the public services to a server and give their names."""
    synthesis_pb2_grpc.add_TextToSpeechServicer_to_server(SpeechServicer(gateway), grpc_server)
    voices_pb2_grpc.add_VoicesServicer_to_server(VoicesServicer(gateway.voices, recordings), grpc_server)
    models_pb2_grpc.add_ModelsServicer_to_server(ModelsServicer(gateway, recordings), grpc_server)
    status_pb2_grpc.add_StatusServicer_to_server(StatusServicer(gateway), grpc_server)
    return SERVICES


@contextlib.asynccontextmanager
async def watching(
    gateway: Gateway, addresses: Sequence[str], *, silence_seconds: float = 5.0
) -> AsyncIterator[Sequence[WorkerLink]]:
    """Keep in touch with the workers, and the voices ready."""

    def on_change() -> None:
        gateway.topology.update()
        gateway.admission.dispatch()

    links = [
        WorkerLink(address, open_channel(address), on_change=on_change, silence_seconds=silence_seconds)
        for address in addresses
    ]
    gateway.topology.watch(links)
    tasks = [asyncio.create_task(keep_running("worker_link", link.watch)) for link in links]
    tasks.append(asyncio.create_task(keep_running("voices", gateway.voices.run)))
    try:
        yield links
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in links:
            await link.close()


async def _main(settings: FrontendSettings) -> None:
    board = HealthBoard()
    gateway, recordings = await asyncio.to_thread(build_gateway, settings, board)
    metrics.QUEUE_DEPTH.set_function(lambda: gateway.admission.queue_depth)
    async with watching(gateway, settings.worker_addresses, silence_seconds=settings.heartbeat_silence_seconds):
        await server.serve(
            lambda grpc_server: register_servicers(grpc_server, gateway, recordings),
            address=settings.address,
            board=board,
            drain_seconds=settings.drain_seconds,
            settle_seconds=settings.settle_seconds,
            interceptors=[TokenInterceptor(settings.api_token.get_secret_value())],
        )


def main() -> int:
    settings = load_settings(FrontendSettings)
    logs.configure("frontend", settings.log_level)
    traces.configure("frontend", settings.otlp_endpoint)
    if settings.metrics_port:
        metrics.serve(settings.metrics_port, settings.host)
    try:
        return server.run(_main(settings))
    except (CheckpointError, TtsError) as error:
        logger.error("start_refused", error=str(error))  # noqa: TRY400 - the message says what to mend
        return 1
    finally:
        traces.shutdown()


if __name__ == "__main__":
    sys.exit(main())
