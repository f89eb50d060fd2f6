"""What is measured, traced and logged about every call that speaks; the calls themselves know nothing of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import structlog

from services.common import metrics, traces
from services.frontend.speaking.timings import Timings

logger = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class SpeechCall:
    """One call: its ids, its deadline, its clock."""

    def __init__(self, method: str, context: Context, utterance_id: str) -> None:
        self.method = method
        self.utterance_id = utterance_id
        self.timings = Timings()
        self.audio_seconds = 0.0
        left = context.time_remaining()
        self.deadline = time.time() + left if left is not None else None
        """Unix time; None when the caller set none."""

    def name_session(self, session_id: str) -> None:
        structlog.contextvars.bind_contextvars(session_id=session_id)
        traces.annotate(session_id=session_id)

    def time_left(self) -> float | None:
        return self.deadline - time.time() if self.deadline is not None else None


@contextmanager
def speech_call(method: str, context: Context, utterance_id: str) -> Iterator[SpeechCall]:
    """Count, time, trace and log one call. The error interceptor, outside, needs the ids that are bound here."""
    structlog.contextvars.bind_contextvars(utterance_id=utterance_id)
    call = SpeechCall(method, context, utterance_id)
    error: BaseException | None = None
    with (
        metrics.INFLIGHT.labels(method).track_inprogress(),
        traces.server_span(f"tts.v1.TextToSpeech/{method}", _metadata(context), utterance_id=utterance_id),
    ):
        try:
            yield call
        except BaseException as failure:
            error = failure
            raise
        finally:
            _account(call, error)


def _metadata(context: Context) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in context.invocation_metadata() or ()]


def _account(call: SpeechCall, error: BaseException | None) -> None:
    method, seconds = call.method, call.timings.elapsed_ms() / 1000
    outcome = metrics.outcome_of(error, time_left_seconds=call.time_left())
    metrics.REQUESTS.labels(method, outcome).inc()
    metrics.CALL_SECONDS.labels(method).observe(seconds)
    metrics.AUDIO_SECONDS.inc(call.audio_seconds)
    if call.timings.first_audio_ms:
        metrics.FIRST_AUDIO_SECONDS.labels(method).observe(call.timings.first_audio_ms / 1000)
    if error is None and call.audio_seconds:
        metrics.RTF.labels(method).observe(seconds / call.audio_seconds)
    logger.info(
        "call_ended",
        method=method,
        outcome=outcome,
        latency_ms=round(1000 * seconds, 1),
        first_audio_ms=round(call.timings.first_audio_ms, 1),
        audio_seconds=round(call.audio_seconds, 3),
    )
