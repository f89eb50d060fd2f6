"""From calls to figures."""

from __future__ import annotations

import pytest
from triptych import Timings

from bench import report
from bench.load.call import Call
from bench.load.figures import figures, of_results, unit
from bench.load.loads import Load
from bench.load.playback import Piece
from bench.load.run import Results, Run
from bench.load.setting import Conditions, Setting
from bench.load.summary import (
    compute_per_audio_second,
    first_audio_parts_ms,
    medians,
    streams_without_underrun,
    summary,
)

STAGES = ("gpt", "s2mel", "vocoder")


def call(*pieces: tuple[float, float], asked: float = 0.0, failure: str = "", timings: Timings | None = None) -> Call:
    made = [Piece(arrived, seconds) for arrived, seconds in pieces]
    ended = made[-1].arrived if made else asked + 0.1
    return Call(asked, 20, made, ended, audible_offset=0.0, timings=timings, failure=failure)


def timings(total_ms: float = 900.0) -> Timings:
    return Timings(
        first_audio_ms=320.0,
        total_ms=total_ms,
        first_token_ms=30.0,
        queue_ms=10.0,
        compute_ms={"gpt": 100.0, "s2mel": 400.0, "vocoder": 50.0},
        first_output_ms={"gpt": 40.0, "s2mel": 240.0, "vocoder": 310.0},
    )


SMOOTH = call((0.2, 0.04), (0.22, 0.96))
LATE = call((0.2, 0.04), (0.5, 0.96))


def test_first_audio_is_the_first_piece_of_40_ms() -> None:
    assert call((1.0, 0.02), (1.5, 0.04), asked=0.5).first_audio_seconds == pytest.approx(1.0)


def test_the_whole_of_a_shorter_speech_is_its_first_audio() -> None:
    assert call((1.0, 0.02), (1.5, 0.01)).first_audio_seconds == pytest.approx(1.5)
    assert call().first_audio_seconds is None


def test_first_audible_audio_comes_after_the_silence_and_the_gaps_before_it() -> None:
    spoken = call((0.2, 0.1), (0.5, 1.0))
    spoken.audible_offset = 0.25
    assert spoken.first_audible_seconds == pytest.approx(0.65)
    spoken.audible_offset = None
    assert spoken.first_audible_seconds is None


def test_parts_of_the_first_audio_add_up_to_it() -> None:
    parts = first_audio_parts_ms(call((0.33, 0.04), timings=timings()), STAGES)
    expected = {"queue": 10, "gpt": 30, "s2mel": 200, "vocoder": 70, "gateway": 10, "wire": 10}
    assert parts == pytest.approx(expected)
    assert sum(parts.values()) == pytest.approx(330)


def test_medians_are_taken_column_by_column() -> None:
    assert medians([{"a": 1, "b": 9}, {"a": 2, "b": 8}, {"a": 9, "b": 1}]) == {"a": 2, "b": 8}
    assert medians([]) == {}


def test_a_summary_counts_calls_gaps_and_failures() -> None:
    got = summary([SMOOTH, LATE, call(failure="QUEUE_FULL")])
    assert (got.calls, got.failed, got.underruns) == (3, 1, 1)
    assert got.gap_seconds == pytest.approx(0.26)
    assert got.first_audio_p50_ms == pytest.approx(200)
    assert got.audio_seconds == pytest.approx(2.0)
    assert got.real_time_factor == pytest.approx((0.22 + 0.5) / 2.0)


def test_a_summary_of_failures_says_nothing_of_time() -> None:
    got = summary([call(failure="QUEUE_FULL")])
    assert (got.first_audio_p50_ms, got.real_time_factor, got.audio_seconds) == (None, None, 0)


@pytest.mark.parametrize(
    ("loads", "most"),
    [
        ({1: [SMOOTH], 2: [SMOOTH], 3: [LATE]}, 2),
        ({1: [SMOOTH], 2: [LATE], 3: [SMOOTH]}, 1),
        ({1: [LATE]}, 0),
        ({1: [SMOOTH], 2: [SMOOTH, call(failure="QUEUE_FULL")]}, 1),
    ],
    ids=["until one is late", "luck beyond does not count", "none", "a refusal is no success"],
)
def test_streams_without_underrun(loads: dict[int, list[Call]], most: int) -> None:
    assert streams_without_underrun({count: Load(calls, 1.0) for count, calls in loads.items()}) == most


def test_compute_is_per_second_of_speech() -> None:
    calls = [call((0.2, 2.0), timings=timings()), call((0.2, 2.0), timings=timings()), call((0.2, 9.0))]
    assert compute_per_audio_second(calls, STAGES) == pytest.approx({"gpt": 0.05, "s2mel": 0.2, "vocoder": 0.025})


def results(label: str, calls: list[Call]) -> Results:
    return Results(
        Setting(label),
        Conditions(label, 8, 1.5),
        calls,
        {100: calls},
        {1: Load(calls, 2.0, [calls])},
        {0.2: Load(calls, 4.0)},
    )


def test_figures_of_the_first_setting_have_plain_keys_and_goals() -> None:
    calls = [call((0.2, 1.0), timings=timings())]
    made = figures(Run("mini", STAGES, [results("latency", calls)]), {"peak_rss_mb": 700.0})
    assert made["first_audio_p50_ms"] == {
        "value": 200.0,
        "unit": "ms",
        "goal": "<= 250",
        "met": True,
        "conditions": "policy latency, 8 steps, 1.5 s of prompt",
    }
    assert made["streams_without_underrun"]["met"] is False
    assert made["peak_rss_mb"]["unit"] == "MB"
    assert {"first_audio_p95_ms", "first_token_p50_ms", "rtf_1_stream", "throughput_audio_s_per_s"} <= made.keys()


def test_other_settings_are_named_and_compared_with_the_first() -> None:
    slow, quick = [call((0.4, 1.0), timings=timings())], [call((0.2, 1.0), timings=timings())]
    made = figures(Run("mini", STAGES, [results("balanced", slow), results("latency", quick)]), {})
    assert made["first_audio_p50_ms"]["value"] == 400.0
    assert made["first_audio_p50_ms[latency]"]["value"] == 200.0
    assert made["ratio_first_audio_p50_ms[latency]"]["value"] == 0.5
    assert made["first_audio_p50_ms"]["met"] is False
    assert made["first_audio_p50_ms[latency]"]["met"] is True


def test_what_was_not_measured_is_absent() -> None:
    alone = Results(Setting(), Conditions("balanced", None, None), [call((0.2, 1.0), timings=timings())])
    assert "streams_without_underrun" not in of_results(alone, STAGES)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("first_audio_p50_ms", "ms"),
        ("first_audio_p95_ms_3_streams", "ms"),
        ("first_audio_p50_ms_at_0.2_per_s", "ms"),
        ("failed_calls_at_0.2_per_s", ""),
        ("underruns_3_streams", ""),
        ("gap_s_3_streams", "s"),
        ("throughput_audio_s_per_s_at_0.2_per_s", "s/s"),
        ("compute_s_per_audio_s_gpt", "s/s"),
        ("cold_start_gpt_worker_s", "s"),
        ("peak_rss_mb", "MB"),
        ("rtf_1000_characters", ""),
        ("ratio_first_audio_p50_ms", ""),
    ],
)
def test_a_key_names_its_unit(key: str, expected: str) -> None:
    assert unit(key) == expected


@pytest.mark.parametrize(("goal", "is_met"), [("<= 250", True), ("<= 249", False), (">= 250", True), (">= 251", False)])
def test_a_figure_says_whether_its_goal_is_met(goal: str, is_met: bool) -> None:
    assert report.figure(250, "ms", goal) == {"value": 250, "unit": "ms", "goal": goal, "met": is_met}


def test_a_figure_without_a_goal_says_nothing_of_one() -> None:
    assert report.figure(1.5, "s") == {"value": 1.5, "unit": "s"}
