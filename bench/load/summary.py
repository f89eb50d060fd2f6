"""From calls to numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.load.call import Call
from bench.load.loads import Load


@dataclass(frozen=True)
class Summary:
    """What some calls got; times in milliseconds. None where no call says anything."""

    calls: int
    failed: int
    first_audio_p50_ms: float | None
    first_audio_p95_ms: float | None
    first_audible_p50_ms: float | None
    first_token_p50_ms: float | None
    real_time_factor: float | None
    """Of all calls together, each from its request to its last audio."""
    underruns: int
    gap_seconds: float
    audio_seconds: float


def failures(calls: Sequence[Call]) -> dict[str, int]:
    """Return how many calls failed, by reason."""
    return dict(Counter(call.failure for call in calls if call.failure))


def summary(calls: Sequence[Call]) -> Summary:
    ended = [call for call in calls if not call.failure and call.audio_seconds]
    audio_seconds = sum(call.audio_seconds for call in ended)
    gaps = [gap for call in calls for gap in call.gaps]
    firsts = [call.first_audio_seconds for call in calls]
    return Summary(
        calls=len(calls),
        failed=sum(bool(call.failure) for call in calls),
        first_audio_p50_ms=_percentile_ms(firsts, 50),
        first_audio_p95_ms=_percentile_ms(firsts, 95),
        first_audible_p50_ms=_percentile_ms([call.first_audible_seconds for call in calls], 50),
        first_token_p50_ms=_percentile_ms([_first_token_seconds(call) for call in calls], 50),
        real_time_factor=sum(call.total_seconds for call in ended) / audio_seconds if audio_seconds else None,
        underruns=len(gaps),
        gap_seconds=sum(gap.seconds for gap in gaps),
        audio_seconds=audio_seconds,
    )


def is_smooth(load: Load) -> bool:
    """Whether nobody heard a gap, every call spoke, and every listener had at least one."""
    got = summary(load.calls)
    return bool(load.calls) and all(load.streams) and not got.underruns and not got.failed


def streams_without_underrun(loads: Mapping[int, Load]) -> int:
    """Return the most streams at once that had neither an underrun nor a failed call, nor had fewer streams; or 0."""
    most = 0
    for count in sorted(loads):
        if not is_smooth(loads[count]):
            break
        most = count
    return most


def first_audio_parts_ms(call: Call, stages: Sequence[str]) -> dict[str, float]:
    """Return where the time of a call's first audio went: the parts add up to it.

    Args:
        call: One that ended well.
        stages: Their names, first to last.
    """
    assert call.timings is not None
    assert call.first_audio_seconds is not None
    timings = call.timings
    before = timings.queue_ms
    parts = {"queue": before}
    for stage in stages:
        parts[stage] = timings.first_output_ms[stage] - before
        before = timings.first_output_ms[stage]
    parts["gateway"] = timings.first_audio_ms - before
    parts["wire"] = 1000 * call.first_audio_seconds - timings.first_audio_ms
    return parts


def medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each column."""
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]} if rows else {}


def compute_per_audio_second(calls: Sequence[Call], stages: Sequence[str]) -> dict[str, float]:
    """Return each stage's computing time in seconds per second of speech."""
    timed = [call for call in calls if call.timings is not None and call.audio_seconds]
    audio_seconds = sum(call.audio_seconds for call in timed)
    spent = {
        stage: sum(call.timings.compute_ms.get(stage, 0.0) for call in timed if call.timings) / 1000 for stage in stages
    }
    return {stage: seconds / audio_seconds for stage, seconds in spent.items()} if audio_seconds else {}


def cpu_per_audio_second(calls: Sequence[Call]) -> dict[str, float]:
    """Return each process's CPU seconds per second of speech; what else runs on the machine changes them little."""
    metered = [call for call in calls if call.cpu and call.audio_seconds]
    audio_seconds = sum(call.audio_seconds for call in metered)
    names = metered[0].cpu if metered else {}
    return {name: sum(call.cpu[name] for call in metered) / audio_seconds for name in names}


def first_audio_cpu_ms(calls: Sequence[Call]) -> dict[str, float]:
    """Return the mean CPU time of each process up to the first audio: clocks of processes tick too coarsely for one."""
    metered = [call for call in calls if call.first_audio_cpu]
    names = metered[0].first_audio_cpu if metered else {}
    return {name: 1000 * float(np.mean([call.first_audio_cpu[name] for call in metered])) for name in names}


def _first_token_seconds(call: Call) -> float | None:
    return call.timings.first_token_ms / 1000 if call.timings is not None and call.timings.first_token_ms else None


def _percentile_ms(values: Sequence[float | None], percent: float) -> float | None:
    known = [value for value in values if value is not None]
    return 1000 * float(np.percentile(known, percent)) if known else None
