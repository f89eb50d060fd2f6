"""The figures of a run, as they are printed and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench import report
from bench.load.run import Results, Run
from bench.load.summary import (
    compute_per_audio_second,
    cpu_per_audio_second,
    first_audio_cpu_ms,
    first_audio_parts_ms,
    medians,
    streams_without_underrun,
    summary,
)
from bench.load.system import Measured

GOALS = {"first_audio_p50_ms": "<= 250", "rtf_1_stream": "<= 0.35", "streams_without_underrun": ">= 3"}
"""On a machine of 2 cores with the embedded checkpoint; none of them stops a run, for they depend on the machine."""

_UNITS = {"ms": "ms", "mb": "MB", "s": "s"}
_RATIOS = ("first_audio_p50_ms", "first_audible_p50_ms", "rtf_1_stream", "throughput_audio_s_per_s")

Values = dict[str, float | None]
"""By key; None where a run says nothing."""


def of_results(results: Results, stages: Sequence[str]) -> Values:
    """The figures of one setting."""
    alone = summary(results.calls)
    found: Values = {
        "first_audio_p50_ms": alone.first_audio_p50_ms,
        "first_audio_p95_ms": alone.first_audio_p95_ms,
        "first_audible_p50_ms": alone.first_audible_p50_ms,
        "first_token_p50_ms": alone.first_token_p50_ms,
        "rtf_1_stream": alone.real_time_factor,
        "failed_calls": alone.failed,
        "underruns_one_call_at_a_time": alone.underruns,
    }
    if results.streams:
        found["streams_without_underrun"] = streams_without_underrun(results.streams)
        found["throughput_audio_s_per_s"] = max(load.throughput for load in results.streams.values())
    ended = [call for call in results.calls if call.timings is not None]
    parts = medians([first_audio_parts_ms(call, stages) for call in ended])
    found |= {f"first_audio_part_{part}_ms": value for part, value in parts.items()}
    spent = compute_per_audio_second(results.calls, stages)
    found |= {f"compute_s_per_audio_s_{stage}": value for stage, value in spent.items()}
    found |= {f"cpu_s_per_audio_s_{name}": value for name, value in cpu_per_audio_second(results.calls).items()}
    found |= {f"first_audio_cpu_{name}_ms": value for name, value in first_audio_cpu_ms(results.calls).items()}
    return found | _by_length(results) | _by_streams(results) | _by_rate(results)


def _by_length(results: Results) -> Values:
    return {f"rtf_{length}_characters": summary(calls).real_time_factor for length, calls in results.lengths.items()}


def _by_streams(results: Results) -> Values:
    found: Values = {}
    for count, load in results.streams.items():
        got = summary(load.calls)
        found |= {
            f"underruns_{count}_streams": got.underruns,
            f"gap_s_{count}_streams": got.gap_seconds,
            f"failed_calls_{count}_streams": got.failed,
            f"first_audio_p50_ms_{count}_streams": got.first_audio_p50_ms,
            f"first_audio_p95_ms_{count}_streams": got.first_audio_p95_ms,
            f"throughput_audio_s_per_s_{count}_streams": load.throughput,
        }
    return found


def _by_rate(results: Results) -> Values:
    found: Values = {}
    for rate, load in results.rates.items():
        got = summary(load.calls)
        found |= {
            f"first_audio_p50_ms_at_{rate:g}_per_s": got.first_audio_p50_ms,
            f"first_audio_p95_ms_at_{rate:g}_per_s": got.first_audio_p95_ms,
            f"underruns_at_{rate:g}_per_s": got.underruns,
            f"failed_calls_at_{rate:g}_per_s": got.failed,
            f"throughput_audio_s_per_s_at_{rate:g}_per_s": load.throughput,
        }
    return found


def of_processes(measured: Measured) -> Values:
    """The figures of the processes; empty of a system that ran already."""
    cold, peaks, lag = measured.cold_start_seconds, measured.peak_rss_mb(), measured.event_loop_lag_p99_ms()
    found: Values = {}
    if cold:
        found |= {"cold_start_s": max(cold.values())} | {f"cold_start_{name}_s": each for name, each in cold.items()}
    if peaks:
        found |= {"peak_rss_mb": sum(peaks.values())} | {f"peak_rss_{name}_mb": each for name, each in peaks.items()}
    if lag:
        found["event_loop_lag_p99_ms"] = max(lag.values())
        found |= {f"event_loop_lag_p99_{name}_ms": each for name, each in lag.items()}
    return found


def ratios(values: Sequence[Values]) -> list[Values]:
    """What each setting but the first got, over what the first one did."""
    base = values[0]
    return [
        {
            f"ratio_{key}": now / before
            for key in _RATIOS
            if (now := other.get(key)) is not None and (before := base.get(key))
        }
        for other in values[1:]
    ]


def figures(run: Run, processes: Values) -> report.Figures:
    """All figures in the form of a report: those of settings beside the first have its name behind their key."""
    values = [of_results(each, run.stages) for each in run.results]
    made = _made(values[0] | processes, "", str(run.results[0].conditions))
    for each, own, ratio in zip(run.results[1:], values[1:], ratios(values), strict=True):
        made |= _made(own | ratio, f"[{each.setting.label}]", str(each.conditions))
    return made


def _made(values: Mapping[str, float | None], suffix: str, conditions: str) -> report.Figures:
    return {
        key + suffix: report.figure(round(value, 4), unit(key), GOALS.get(key, ""), conditions=conditions)
        for key, value in values.items()
        if value is not None
    }


def unit(key: str) -> str:
    """Return the unit that a key names among its words; empty for counts and ratios."""
    if key.startswith("ratio_"):
        return ""
    if "audio_s_per_s" in key or "s_per_audio_s" in key:
        return "s/s"
    words = key.partition("_at_")[0].split("_")
    return next((name for word, name in _UNITS.items() if word in words), "")
