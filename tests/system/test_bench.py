"""The load bench over the whole path, against real processes; what it finds is not judged here."""

from __future__ import annotations

from bench import report
from bench.load.figures import OF_PROCESSES, figures, of_processes, required
from bench.load.loads import Pace
from bench.load.run import Plan, measure
from bench.load.setting import Setting
from bench.load.system import of_local
from bench.local import LocalSystem

PLAN = Plan(
    calls=1,
    lengths={10: 1},
    streams=[1],
    paces=[Pace.HEARD, Pace.RECEIVED],
    stream_seconds=0.1,
    climb_seconds=60.0,
    rates=[1.0],
    rate_seconds=0.1,
    seed=1,
)


async def test_one_run_gives_every_figure(system: LocalSystem) -> None:
    cold_start_seconds = {"frontend": 4.0, "gpt_worker": 3.0}
    measured = of_local(system, cold_start_seconds)
    run = await measure(measured, PLAN, [Setting(steps=2)])
    made = figures(run, of_processes(measured), required(PLAN), OF_PROCESSES)

    assert {
        "first_audio_p50_ms",
        "first_audio_p95_ms",
        "first_audible_p50_ms",
        "first_token_p50_ms",
        "rtf_1_stream",
        "rtf_10_characters",
        "streams_without_underrun",
        "streams_without_underrun_received",
        "throughput_audio_s_per_s",
        "throughput_audio_s_per_s_at_1_per_s",
        "peak_rss_mb",
        "cold_start_s",
        "event_loop_lag_p99_ms",
    } <= made.keys()
    assert {made[key]["value"] for key in made if key.startswith("failed_calls")} == {0}
    assert not report.failures(made)
    parts = [key for key in made if key.startswith("first_audio_part_")]
    assert {"first_audio_part_queue_ms", "first_audio_part_s2mel_ms", "first_audio_part_wire_ms"} <= {*parts}
    assert "2 steps" in str(made["rtf_1_stream"]["conditions"])
    assert made["cold_start_s"]["value"] == 4.0
