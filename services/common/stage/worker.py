"""The life of a worker process: load, warm up, serve, drain; or die loudly when the engine does."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

import grpc
import structlog

from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc
from services.common import VERSION, logs, memory, metrics, traces
from services.common.checkpoint import CheckpointError
from services.common.devices import device_index
from services.common.errors import OverloadedError
from services.common.health import HealthBoard
from services.common.memory import MemoryGauge
from services.common.server import run, serve
from services.common.stage.engine import Engine
from services.common.stage.loop import StageLoop
from services.common.stage.servicer import StageServicer
from services.common.stage.settings import StageSettings
from services.common.stage.slots import less_memory

logger = structlog.get_logger(__name__)


def run_worker(stage: str, settings: StageSettings, load_engine: Callable[[], Engine]) -> int:
    """Serve one stage until SIGTERM and give the process's exit code.

    Args:
        stage: The stage's name, such as ``gpt``.
        settings: The worker's settings.
        load_engine: Loads the model, before anything listens: a port that answers is a worker that serves.
    """
    # CUDA's own order is by speed; this one is also NVML's, so both mean the same GPU by a number.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if settings.niceness:
        os.nice(settings.niceness)
    logs.configure(f"{stage}_worker", settings.log_level)
    traces.configure(f"{stage}_worker", settings.otlp_endpoint)
    try:
        if settings.metrics_port:
            metrics.serve(settings.metrics_port, settings.host)
        return run(_serve(stage, settings, load_engine))
    except CheckpointError as error:
        logger.error("checkpoint_refused", stage=stage, error=str(error))  # noqa: TRY400
        return 1
    finally:
        traces.shutdown()


async def _serve(stage: str, settings: StageSettings, load_engine: Callable[[], Engine]) -> None:
    board = HealthBoard()
    engine = await asyncio.to_thread(_load_and_warm, settings, load_engine)
    loop = StageLoop(
        engine,
        max_batch_size=settings.max_batch_size,
        batch_window_seconds=settings.batch_window_ms / 1000,
        ahead_niceness=settings.ahead_niceness,
    )
    device = engine.spec.device
    gauge = MemoryGauge(lambda: memory.device_memory(device.kind, device_index(settings.device)))
    name = f"{stage}-{socket.gethostname()}-{os.getpid()}"
    metrics.SLOTS.labels(stage).set(engine.spec.slots)
    metrics.FREE_SLOTS.labels(stage).set(engine.spec.slots)
    metrics.set_build_info(f"{stage}_worker", version=VERSION, revision=engine.spec.revision)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        servicer = StageServicer(loop, worker=name, gauge=gauge, voice_cache_bytes=settings.voice_cache_mb << 20)
        stage_pb2_grpc.add_StageServicer_to_server(servicer, server)
        return [stage_pb2.DESCRIPTOR.services_by_name["Stage"].full_name]

    def on_drain() -> None:
        loop.is_draining = True

    running = asyncio.create_task(loop.run_forever())
    logger.info(
        "model_loaded",
        stage=stage,
        model=engine.spec.model,
        revision=engine.spec.revision,
        device=device.name,
        provider=device.provider,
        dtype=device.dtype,
    )
    try:
        await serve(
            register,
            address=settings.address,
            board=board,
            drain_seconds=settings.drain_seconds,
            settle_seconds=settings.settle_seconds,
            on_drain=on_drain,
            dead=running,
        )
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _load_and_warm(settings: StageSettings, load_engine: Callable[[], Engine]) -> Engine:
    engine = load_engine()
    try:
        engine.warm_up()
    except OverloadedError as error:
        raise CheckpointError(
            f"cannot warm up: {error.message}; raise gpu_memory_mb where it is the limit, or choose "
            f"{less_memory(settings.memory_savers)}"
        ) from error
    return engine
