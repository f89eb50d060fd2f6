"""Every metric of every service, so that one name means one thing. Knows no gRPC."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.common import errors, memory

REGISTRY = CollectorRegistry()

_LATENCY_SECONDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
_STEP_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_RATIOS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 5.0, 10.0)
_LAG_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
_BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)

REQUESTS = Counter("tts_requests", "Calls that ended, by method and outcome.", ["method", "outcome"], registry=REGISTRY)
INFLIGHT = Gauge("tts_inflight", "Calls in work now, by method.", ["method"], registry=REGISTRY)
FIRST_AUDIO_SECONDS = Histogram(
    "tts_ttfa_seconds",
    "From the request to its first audio.",
    ["method"],
    buckets=_LATENCY_SECONDS,
    registry=REGISTRY,
)
CALL_SECONDS = Histogram(
    "tts_call_seconds",
    "From the request to the end of its call.",
    ["method"],
    buckets=_LATENCY_SECONDS,
    registry=REGISTRY,
)
RTF = Histogram(
    "tts_rtf", "Seconds of work per second of audio, by call.", ["method"], buckets=_RATIOS, registry=REGISTRY
)
AUDIO_SECONDS = Counter("tts_audio_seconds", "Audio sent to callers.", registry=REGISTRY)
QUEUE_DEPTH = Gauge("tts_queue_depth", "Utterances that wait for a slot.", registry=REGISTRY)
SLOTS = Gauge("tts_slots", "Streams that a worker can have in work.", ["stage"], registry=REGISTRY)
FREE_SLOTS = Gauge("tts_free_slots", "Slots that are not taken.", ["stage"], registry=REGISTRY)
STEP_SECONDS = Histogram(
    "tts_step_seconds",
    "One step of the engine, for its whole batch.",
    ["stage"],
    buckets=_STEP_SECONDS,
    registry=REGISTRY,
)
BATCH_SIZE = Histogram(
    "tts_batch_size", "Streams that shared a step.", ["stage"], buckets=_BATCH_SIZES, registry=REGISTRY
)
CHUNKS = Counter("tts_chunks", "Chunks that left a stage.", ["stage"], registry=REGISTRY)
CACHE_LOOKUPS = Counter(
    "tts_cache_lookups",
    "Questions to a cache, by its name and outcome (hit, miss).",
    ["cache", "outcome"],
    registry=REGISTRY,
)
CACHE_EVICTIONS = Counter("tts_cache_evictions", "Entries that made room for others.", ["cache"], registry=REGISTRY)
CACHE_BYTES = Gauge("tts_cache_bytes", "What a cache holds.", ["cache"], registry=REGISTRY)
CACHE_LIMIT_BYTES = Gauge("tts_cache_limit_bytes", "What a cache may hold.", ["cache"], registry=REGISTRY)
EVENT_LOOP_LAG_SECONDS = Histogram(
    "tts_event_loop_lag_seconds",
    "How late the event loop wakes a coroutine that sleeps.",
    buckets=_LAG_SECONDS,
    registry=REGISTRY,
)
BUILD_INFO = Gauge(
    "tts_build_info",
    "Always 1; the labels say what runs.",
    ["service", "version", "revision", "python"],
    registry=REGISTRY,
)

_REFUSALS = (
    errors.InvalidRequestError,
    errors.NotFoundError,
    errors.AlreadyExistsError,
    errors.WrongModelError,
    errors.OverloadedError,
    errors.TooLargeError,
)


class _UseCollector(Collector):
    """Memory and GPUs, read when somebody asks."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("tts_process_resident_bytes", "Resident memory now.", memory.resident_bytes())
        yield GaugeMetricFamily("tts_process_peak_bytes", "Most resident memory so far.", memory.peak_bytes())
        gpus = memory.gpus()
        if not gpus:
            return
        use = GaugeMetricFamily("tts_gpu_utilisation_ratio", "Share of time with a kernel at work.", labels=["gpu"])
        used = GaugeMetricFamily("tts_gpu_memory_used_bytes", "Used by all processes.", labels=["gpu"])
        total = GaugeMetricFamily("tts_gpu_memory_total_bytes", "What the GPU has.", labels=["gpu"])
        for gpu in gpus:
            use.add_metric([str(gpu.index)], gpu.utilisation)
            used.add_metric([str(gpu.index)], gpu.used_bytes)
            total.add_metric([str(gpu.index)], gpu.total_bytes)
        yield from (use, used, total)


REGISTRY.register(_UseCollector())
ProcessCollector(registry=REGISTRY)


DEADLINE_SLACK_SECONDS = 0.1
"""The caller's clock started before ours, by the time that its request was on its way."""


def outcome_of(error: BaseException | None, *, time_left_seconds: float | None = None) -> str:
    """Return the outcome label of a call: ok, cancelled, timed_out, refused:<reason> or failed.

    Args:
        error: What ended the call; None when it ended well.
        time_left_seconds: To the caller's deadline; when it passes, gRPC cancels the call like a hang-up.
    """
    match error:
        case None:
            return "ok"
        # A stream that is cut while it writes is told so by GeneratorExit.
        case asyncio.CancelledError() | GeneratorExit():
            is_late = time_left_seconds is not None and time_left_seconds <= DEADLINE_SLACK_SECONDS
            return "timed_out" if is_late else "cancelled"
        case errors.DeadlineError():
            return "timed_out"
        case errors.TtsError() if isinstance(error, _REFUSALS):
            return f"refused:{error.reason}"
        case _:
            return "failed"


def set_build_info(service: str, *, version: str, revision: str = "") -> None:
    """State what runs; `revision` is the model's."""
    BUILD_INFO.clear()
    BUILD_INFO.labels(service, version, revision, platform.python_version()).set(1)


def serve(port: int, host: str = "127.0.0.1") -> int:
    """Expose the metrics at ``http://host:port/metrics`` from a daemon thread and return the port.

    Port 0 takes a free one.

    Raises:
        OSError: The address cannot be listened on.
    """
    try:
        server, _thread = start_http_server(port, addr=host, registry=REGISTRY)
    except OSError as error:
        raise OSError(error.errno, f"cannot expose metrics on {host}:{port}: {error.strerror}") from error
    return int(server.server_port)
