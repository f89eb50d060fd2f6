"""From calls to figures."""

from __future__ import annotations

import pytest
from triptych import Timings

from bench import report
from bench.load import underruns
from bench.load.call import Call
from bench.load.figures import OF_PROCESSES, Values, figures, of_results, required, unit
from bench.load.loads import Load, Pace
from bench.load.playback import Piece
from bench.load.run import Plan, Results, Run
from bench.load.setting import Conditions, Setting
from bench.load.summary import (
    compute_per_audio_second,
    failures,
    first_audio_parts_ms,
    is_smooth,
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


def test_a_listener_who_got_nothing_is_no_success() -> None:
    assert not is_smooth(Load([], 1.0))
    assert not is_smooth(Load([SMOOTH], 1.0, [[SMOOTH], []]))
    assert is_smooth(Load([SMOOTH], 1.0, [[SMOOTH]]))


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
        {Pace.HEARD: {1: Load(calls, 2.0, [calls])}},
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
        "is_of_machine": True,
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


PLAN = Plan(
    calls=1,
    lengths={100: 1},
    streams=[1],
    paces=[Pace.HEARD],
    stream_seconds=1.0,
    climb_seconds=1.0,
    rates=[0.2],
    rate_seconds=1.0,
    seed=1,
)


def test_a_whole_run_has_every_figure_that_its_plan_asks_for() -> None:
    processes: Values = dict.fromkeys(OF_PROCESSES, 1.0)
    made = figures(
        Run("mini", STAGES, [results("", [call((0.2, 1.0), timings=timings())])]),
        processes,
        required(PLAN),
        OF_PROCESSES,
    )
    assert {*required(PLAN), *OF_PROCESSES} <= made.keys()
    assert report.failures(made) == []


@pytest.mark.parametrize("key", OF_PROCESSES)
def test_a_figure_of_the_processes_that_is_missing_fails_the_run(key: str) -> None:
    processes = dict.fromkeys(OF_PROCESSES, 1.0) | {key: None}
    run = Run("mini", STAGES, [results("", [call((0.2, 1.0), timings=timings())])])
    assert [each.partition(" ")[0] for each in report.failures(figures(run, processes, (), OF_PROCESSES))] == [key]


def test_a_goal_of_which_nothing_was_measured_fails_the_run_under_each_setting() -> None:
    well, lost = [call((0.2, 1.0), timings=timings())], [call(failure="QUEUE_FULL")]
    run = Run("mini", STAGES, [results("balanced", well), results("latency", lost)])
    made = figures(run, {}, required(PLAN))
    assert made["first_audio_p50_ms[latency]"]["value"] is None
    assert made["first_audio_p50_ms[latency]"]["goal"] == "<= 250"
    assert made["first_audio_p50_ms[latency]"]["why"] == "calls failed: 4 of QUEUE_FULL"
    assert any(each.startswith("rtf_1_stream[latency] is missing") for each in report.failures(made))


def test_a_call_that_fails_fails_the_run_whatever_the_load() -> None:
    ended, lost = call((0.2, 1.0), timings=timings()), call(failure="WORKER_LOST")
    each = results("", [ended])
    each.rates[0.2] = Load([ended, lost], 4.0)
    made = figures(Run("mini", STAGES, [each]), {})
    assert made["failed_calls"] | {"conditions": ""} == {
        "value": 1,
        "unit": "",
        "goal": "<= 0",
        "met": False,
        "conditions": "",
        "reasons": {"WORKER_LOST": 1},
    }
    assert report.failures(made) == [
        "failed_calls is 1, its goal <= 0",
        "failed_calls_at_0.2_per_s is 1, its goal <= 0",
    ]
    assert failures([lost, lost, ended]) == {"WORKER_LOST": 2}


def test_a_goal_that_the_machine_has_a_part_in_fails_no_run() -> None:
    made = figures(Run("mini", STAGES, [results("", [call((0.9, 1.0), timings=timings())])]), {}, required(PLAN))
    assert made["first_audio_p50_ms"]["met"] is False
    assert report.failures(made) == []


def test_paces_have_keys_of_their_own_and_listeners_the_plain_ones() -> None:
    each = results("", [SMOOTH])
    each.streams[Pace.RECEIVED] = {1: Load([LATE], 0.5, [[LATE]])}
    found = of_results(each, STAGES)
    assert (found["streams_without_underrun"], found["streams_without_underrun_received"]) == (1, 0)
    assert (found["underruns_1_streams"], found["underruns_1_streams_received"]) == (0, 1)
    assert found["throughput_audio_s_per_s"] == pytest.approx(2.0)


def test_an_underrun_says_which_chunk_of_which_call_was_late_and_by_how_much() -> None:
    each = results("latency", [SMOOTH])
    each.streams = {Pace.HEARD: {2: Load([SMOOTH, SMOOTH, LATE], 2.0, [[SMOOTH], [SMOOTH, LATE]])}}
    [found] = underruns.of_run(Run("mini", STAGES, [each]))
    assert (found.load, found.stream, found.call, found.chunk, found.chunks) == ("2 streams, heard", 2, 2, 1, 2)
    assert (found.late_ms, found.speech_s, found.after_s) == pytest.approx((260.0, 0.04, 0.24))
    assert underruns.as_json([found])[0]["late_ms"] == pytest.approx(260.0)
    assert "| 260.0 | 2 streams, heard | latency | 2, 2 | 1 of 2 | 0.04 | 20 | 0 |" in underruns.table([found])


def test_underruns_of_every_load_are_listed_and_the_worst_come_first() -> None:
    later = call((0.2, 0.04), (0.9, 0.96))
    run = Run("mini", STAGES, [results("", [LATE, later])])
    found = underruns.of_run(run)
    assert {each.load for each in found} == {"one at a time", "100 characters", "1 streams, heard", "0.2 per second"}
    assert [each.late_ms for each in underruns.worst(found, 5)] == pytest.approx([660, 660, 660, 660, 260])


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


def test_a_goal_may_be_the_machines_and_then_fails_nothing() -> None:
    figures_made = {"a": report.figure(3, "s", "<= 2", is_of_machine=True), "b": report.figure(3, "s", "<= 2")}
    assert report.failures(figures_made) == ["b is 3 s, its goal <= 2"]


def test_a_missing_figure_fails_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    made = {"a": report.missing("s", "nobody spoke", "<= 2"), "b": report.figure(1, "s")}
    assert report.exit_status(made) == 1
    assert "FAILED a is missing: nobody spoke" in capsys.readouterr().err
    assert "| a | missing | s | <= 2 | no |" in report.table(made)
    assert report.exit_status({"b": report.figure(1, "s")}) == 0
