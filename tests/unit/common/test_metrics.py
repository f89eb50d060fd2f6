"""Metric names are a contract with dashboards."""

from __future__ import annotations

import asyncio
import urllib.request

import pytest

from services.common import errors, memory, metrics
from services.common.reasons import Reason


def test_page_has_every_metric() -> None:
    metrics.REQUESTS.labels("Test", "ok").inc()
    metrics.STEP_SECONDS.labels("test").observe(0.01)
    metrics.BATCH_SIZE.labels("test").observe(2)
    metrics.SLOTS.labels("test").set(8)
    metrics.FREE_SLOTS.labels("test").set(7)
    metrics.CHUNKS.labels("test").inc()
    metrics.FIRST_AUDIO_SECONDS.labels("Test").observe(0.2)
    metrics.CACHE_LOOKUPS.labels("test", "hit").inc()
    metrics.CACHE_EVICTIONS.labels("test").inc()
    metrics.CACHE_BYTES.labels("test").set(3)
    metrics.set_build_info("gpt_worker", version="0.1.0", revision="abc")

    port = metrics.serve(0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text = page.read().decode()

    assert 'tts_requests_total{method="Test",outcome="ok"} 1.0' in text
    assert 'tts_step_seconds_bucket{le="0.01",stage="test"} 1.0' in text
    assert 'tts_free_slots{stage="test"} 7.0' in text
    assert 'revision="abc"' in text
    for name in (
        "tts_ttfa_seconds_sum",
        "tts_queue_depth",
        "tts_process_peak_bytes",
        "tts_chunks_total",
        "tts_event_loop_lag_seconds_bucket",
        "tts_cache_lookups_total",
        "tts_cache_evictions_total",
        "tts_cache_bytes",
    ):
        assert f"\n{name}" in text


def test_taken_port_is_said_clearly() -> None:
    port = metrics.serve(0)

    with pytest.raises(OSError, match=f"cannot expose metrics on 127.0.0.1:{port}"):
        metrics.serve(port)


@pytest.mark.parametrize(
    ("error", "time_left_seconds", "expected"),
    [
        (None, None, "ok"),
        (asyncio.CancelledError(), 2.0, "cancelled"),
        (asyncio.CancelledError(), None, "cancelled"),
        (asyncio.CancelledError(), -0.1, "timed_out"),
        (asyncio.CancelledError(), 0.05, "timed_out"),
        (GeneratorExit(), None, "cancelled"),
        (GeneratorExit(), -0.1, "timed_out"),
        (errors.DeadlineError("late"), None, "timed_out"),
        (errors.OverloadedError("full"), None, "refused:OVERLOADED"),
        (errors.NotFoundError("no voice", reason=Reason.VOICE_NOT_FOUND), None, "refused:VOICE_NOT_FOUND"),
        (errors.StageLostError("gone"), None, "failed"),
        (errors.StageFailedError("broke"), None, "failed"),
        (ValueError("bug"), None, "failed"),
    ],
)
def test_outcome_labels(error: BaseException | None, time_left_seconds: float | None, expected: str) -> None:
    assert metrics.outcome_of(error, time_left_seconds=time_left_seconds) == expected


def test_memory_is_plausible() -> None:
    assert memory.resident_bytes() > 10 * 2**20
    assert memory.resident_bytes() <= memory.peak_bytes() * 1.01 < 2**40


def test_gpus_are_silent_without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_has_nvml", lambda: False)

    assert memory.gpus() == []


def test_gpus_become_series(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = memory.GpuUse(index=0, name="H200", utilisation=0.5, used_bytes=10, total_bytes=100)
    monkeypatch.setattr(memory, "gpus", lambda: [gpu])

    assert metrics.REGISTRY.get_sample_value("tts_gpu_utilisation_ratio", {"gpu": "0"}) == 0.5
    assert metrics.REGISTRY.get_sample_value("tts_gpu_memory_total_bytes", {"gpu": "0"}) == 100
