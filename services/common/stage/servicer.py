"""The gRPC side of every worker: translates the stage protocol and decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import structlog

from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc
from services.common import memory, tensors, traces
from services.common.errors import InvalidRequestError, TtsError
from services.common.memory import MemoryGauge, MemoryUse
from services.common.reasons import Reason
from services.common.stage import checks, convert
from services.common.stage.loop import StageLoop
from services.common.stage.run import Run, open_session
from services.common.stage.session import Session
from services.common.stage.spec import VoiceStep
from services.common.stage.voice_cache import DEFAULT_BYTES, VoiceCache

logger = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 0.1

Context = grpc.aio.ServicerContext[Any, Any]


class StageServicer(stage_pb2_grpc.StageServicer):
    """Serves one engine.

    Args:
        loop: What moves sessions through the engine.
        worker: This process's name in logs and answers.
        gauge: Reads the memory of the engine's device; asked ten times a second.
        voice_cache_bytes: What the voices that are kept may take.
    """

    def __init__(
        self,
        loop: StageLoop,
        *,
        worker: str,
        gauge: Callable[[], MemoryUse] | None = None,
        voice_cache_bytes: int = DEFAULT_BYTES,
    ) -> None:
        self._loop = loop
        self._worker = worker
        self._spec = loop.engine.spec
        self._voices = VoiceCache(voice_cache_bytes)
        kind = self._spec.device.kind
        self._memory = gauge or MemoryGauge(lambda: memory.device_memory(kind))

    async def Describe(self, request: stage_pb2.DescribeRequest, context: Context) -> stage_pb2.DescribeResponse:
        return convert.spec_to_proto(self._spec, worker=self._worker)

    async def EncodeVoice(
        self, request: stage_pb2.EncodeVoiceRequest, context: Context
    ) -> stage_pb2.EncodeVoiceResponse:
        with self._named():
            checks.check_model(request.model.name, request.model.revision, self._spec, field="model")
            step = self._step(request.step)
            given = tensors.from_proto(request.tensors)
            checks.check_voice_step(given, step)
            made = await self._loop.encode_voice(step.name, given)
        return stage_pb2.EncodeVoiceResponse(tensors=tensors.to_proto(made))

    async def Heartbeat(
        self, request: stage_pb2.HeartbeatRequest, context: Context
    ) -> AsyncIterator[stage_pb2.HeartbeatResponse]:
        while True:
            use = self._memory()
            yield stage_pb2.HeartbeatResponse(
                engine_steps=self._loop.steps,
                free_slots=max(self._loop.free_slots, 0),
                slots=self._spec.slots,
                is_draining=self._loop.is_draining,
                memory_used_bytes=use.used_bytes,
                memory_total_bytes=use.total_bytes,
            )
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def Run(
        self, request_iterator: AsyncIterator[stage_pb2.RunRequest], context: Context
    ) -> AsyncIterator[stage_pb2.RunResponse]:
        requests = aiter(request_iterator)
        first = await self._first(requests)
        session: Session | None = None
        started = time.monotonic()
        # Bound for good, not for a block: the interceptor logs failures after this method has ended.
        structlog.contextvars.bind_contextvars(
            utterance_id=first.open.utterance_id, session_id=first.open.session_id, stage=self._spec.stage
        )
        with self._named(), traces.server_span(f"{self._spec.stage}.Run", context.invocation_metadata()):
            left = context.time_remaining()
            try:
                async for step in open_session(
                    first, requests, loop=self._loop, voices=self._voices, time_left_seconds=left
                ):
                    if isinstance(step, Session):
                        session = step
                    else:
                        yield stage_pb2.RunResponse(need_voice=step)
                assert session is not None
                run = Run(self._loop, session)
                yield stage_pb2.RunResponse(opened=stage_pb2.Opened(worker=self._worker, revision=self._spec.revision))
                async for answer in run.answers(requests):
                    yield answer
            finally:
                if session is not None:
                    self._loop.close(session)
                    _tell_end(session, time.monotonic() - started)

    async def _first(self, requests: AsyncIterator[stage_pb2.RunRequest]) -> stage_pb2.RunRequest:
        first = await anext(requests, None)
        if first is None:
            raise InvalidRequestError(
                "the stream ended before open",
                field="message",
                reason=Reason.CONFIG_MISSING,
                stage=self._spec.stage,
            )
        return first

    def _step(self, name: str) -> VoiceStep:
        steps = (*self._spec.voice_steps, *self._spec.option_steps)
        for step in steps:
            if step.name == name:
                return step
        allowed = ", ".join(step.name for step in steps) or "none"
        raise InvalidRequestError(f"the step is not one of: {allowed}", field="step", reason=Reason.OUT_OF_RANGE)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Put the stage's name on errors that were raised where it is not known."""
        try:
            yield
        except TtsError as error:
            error.stage = error.stage or self._spec.stage
            raise


def _tell_end(session: Session, seconds: float) -> None:
    logger.info(
        "run_ended",
        latency_ms=round(1000 * seconds, 1),
        steps=session.stats.steps,
        items=session.stats.items,
        compute_ms=round(1000 * session.stats.compute_seconds, 1),
        batch_size=session.stats.max_batch_size,
    )
