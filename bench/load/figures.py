"""The figures of a run, as they are printed and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from bench import report
from bench.load.call import Call
from bench.load.loads import Load, Pace
from bench.load.run import Plan, Results, Run
from bench.load.summary import (
    compute_per_audio_second,
    cpu_per_audio_second,
    failures,
    first_audio_cpu_ms,
    first_audio_parts_ms,
    medians,
    streams_without_underrun,
    summary,
)
from bench.load.system import Measured

GOALS = {
    "first_audio_p50_ms": "<= 250",
    "rtf_1_stream": "<= 0.35",
    "streams_without_underrun": ">= 3",
    "bench_late_most_ms": "<= 250",
}
"""On a machine of 2 cores with the embedded checkpoint: the machine has its part in them."""
_NO_FAILURES = "<= 0"
"""The goal of every number of failed calls, whatever the machine."""

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
        "failed_calls": len([call for call in calls_of(results) if call.failure]),
        "underruns_one_call_at_a_time": alone.underruns,
    }
    if results.streams:
        loads = chain.from_iterable(by_count.values() for by_count in results.streams.values())
        found["throughput_audio_s_per_s"] = max(load.throughput for load in loads)
    ended = [call for call in results.calls if call.timings is not None]
    parts = medians([first_audio_parts_ms(call, stages) for call in ended])
    found |= {f"first_audio_part_{part}_ms": value for part, value in parts.items()}
    spent = compute_per_audio_second(results.calls, stages)
    found |= {f"compute_s_per_audio_s_{stage}": value for stage, value in spent.items()}
    found |= {f"cpu_s_per_audio_s_{name}": value for name, value in cpu_per_audio_second(results.calls).items()}
    found |= {f"first_audio_cpu_{name}_ms": value for name, value in first_audio_cpu_ms(results.calls).items()}
    found |= _by_length(results)
    for pace, by_count in results.streams.items():
        found |= _by_streams(by_count, suffix_of(pace))
    return found | _by_rate(results)


def calls_of(results: Results) -> list[Call]:
    """All calls under one setting, whatever the load."""
    loads = [load for by_count in results.streams.values() for load in by_count.values()]
    parts = [results.calls, *results.lengths.values(), *(load.calls for load in [*loads, *results.rates.values()])]
    return list(chain.from_iterable(parts))


def suffix_of(pace: Pace) -> str:
    """What stands behind the keys of a pace: nothing for listeners, who are what figures are about."""
    return "" if pace is Pace.HEARD else f"_{pace.value}"


def _by_length(results: Results) -> Values:
    return {_rtf_key(length): summary(calls).real_time_factor for length, calls in results.lengths.items()}


def _rtf_key(length: int) -> str:
    return f"rtf_{length}_characters"


def _by_streams(by_count: Mapping[int, Load], suffix: str) -> Values:
    found: Values = {
        f"streams_without_underrun{suffix}": streams_without_underrun(by_count),
        f"streams_measured_most{suffix}": max(by_count),
    }
    for count, load in by_count.items():
        got = summary(load.calls)
        of = f"_{count}_streams{suffix}"
        found |= {
            f"underruns{of}": got.underruns,
            f"gap_s{of}": got.gap_seconds,
            f"failed_calls{of}": got.failed,
            f"first_audio_p50_ms{of}": got.first_audio_p50_ms,
            f"first_audio_p95_ms{of}": got.first_audio_p95_ms,
            f"throughput_audio_s_per_s{of}": load.throughput,
        }
    return found


def _by_rate(results: Results) -> Values:
    found: Values = {}
    for rate, load in results.rates.items():
        got, at = summary(load.calls), _at(rate)
        found |= {
            f"first_audio_p50_ms{at}": got.first_audio_p50_ms,
            f"first_audio_p95_ms{at}": got.first_audio_p95_ms,
            f"underruns{at}": got.underruns,
            f"failed_calls{at}": got.failed,
            f"throughput_audio_s_per_s{at}": load.throughput,
        }
    return found


def _at(rate: float) -> str:
    return f"_at_{rate:g}_per_s"


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
        found["event_loop_lag_looks"] = min(measured.event_loop_looks().values())
    return found


def _of_bench(run: Run) -> Values:
    """How late the measuring process itself was: no figure of a run is better than that."""
    late = run.lateness
    return {"bench_late_p99_ms": late.percentile_ms(99), "bench_late_most_ms": late.percentile_ms(100)}


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


def required(plan: Plan) -> list[str]:
    """Keys that a run of this plan must have a figure for, under every setting."""
    keys = ["first_audio_p50_ms", "first_audio_p95_ms", "first_token_p50_ms", "rtf_1_stream"] if plan.calls else []
    keys += [_rtf_key(length) for length in plan.lengths]
    if plan.streams:
        keys += ["throughput_audio_s_per_s", *(f"streams_without_underrun{suffix_of(pace)}" for pace in plan.paces)]
    return keys + [f"first_audio_p50_ms{_at(rate)}" for rate in plan.rates]


OF_PROCESSES = ("cold_start_s", "peak_rss_mb", "event_loop_lag_p99_ms")
"""Keys that a system of this machine's own must have a figure for."""


def figures(run: Run, processes: Values, keys: Sequence[str] = (), of_system: Sequence[str] = ()) -> report.Figures:
    """All figures in the form of a report: those of settings beside the first have its name behind their key.

    Args:
        run: What was measured.
        processes: The figures of the processes.
        keys: That must be there under every setting; a missing one says so instead of being left out.
        of_system: Likewise, of the system.
    """
    values = [of_results(each, run.stages) for each in run.results]
    made: report.Figures = {}
    for number, (each, own) in enumerate(zip(run.results, values, strict=True)):
        suffix = f"[{each.setting.label}]" if number else ""
        more = ratios(values)[number - 1] if number else processes | _of_bench(run)
        made |= _made(own | more, [*keys, *([] if number else of_system)], suffix, each)
    return made


def _made(values: Mapping[str, float | None], keys: Sequence[str], suffix: str, results: Results) -> report.Figures:
    made, conditions = report.Figures(), str(results.conditions)
    for key in dict.fromkeys((*values, *keys)):
        value, goal = values.get(key), _goal(key)
        if value is not None:
            is_of_machine = key in GOALS
            made[key + suffix] = report.figure(
                round(value, 4), unit(key), goal, is_of_machine=is_of_machine, conditions=conditions
            )
        elif key in keys:
            made[key + suffix] = report.missing(unit(key), _why(results), goal, conditions=conditions)
    made["failed_calls" + suffix]["reasons"] = failures(calls_of(results))
    return made


def _goal(key: str) -> str:
    return _NO_FAILURES if key.startswith("failed_calls") else GOALS.get(key, "")


def _why(results: Results) -> str:
    found = ", ".join(f"{count} of {reason}" for reason, count in failures(calls_of(results)).items())
    return f"calls failed: {found}" if found else "nothing that was measured says it"


def unit(key: str) -> str:
    """Return the unit that a key names among its words; empty for counts and ratios."""
    if key.startswith("ratio_"):
        return ""
    if "audio_s_per_s" in key or "s_per_audio_s" in key:
        return "s/s"
    words = key.partition("_at_")[0].split("_")
    return next((name for word, name in _UNITS.items() if word in words), "")
