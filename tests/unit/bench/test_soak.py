"""What a soak says of a speech follows from its samples, its arrivals and its text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from triptych import Segment, TextSpan

from bench import report
from bench.load.playback import Gap, Piece, gaps
from bench.load.setting import Conditions
from bench.soak.__main__ import figures_of_long, figures_of_slow
from bench.soak.drift import Floats, Manner, level_dbfs, manner, pace, pitch_hz
from bench.soak.memory import MemoryTrace, slope_per_minute
from bench.soak.run import LongSpeech
from bench.soak.slow_text import Arrival, SlowSpeech, blame

RATE_HZ = 16_000


def voice(frequency: float, seconds: float = 1.0) -> Floats:
    """A tone with the many harmonics of a voice."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    harmonics = np.arange(1, 12)[:, None]
    summed: Floats = (np.sin(2 * np.pi * frequency * harmonics * time) / harmonics).sum(axis=0).astype(np.float32)
    return summed * np.float32(0.1)


@pytest.mark.parametrize("frequency", [80.0, 120.0, 210.0, 330.0])
def test_pitch_is_that_of_the_voice_and_no_octave_of_it(frequency: float) -> None:
    assert pitch_hz(voice(frequency), RATE_HZ) == pytest.approx(frequency, rel=0.03)


def test_pitch_of_noise_or_silence_is_none() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, RATE_HZ).astype(np.float32)
    assert pitch_hz(noise, RATE_HZ) is None
    assert pitch_hz(np.zeros(RATE_HZ, np.float32), RATE_HZ) is None


def test_silence_has_no_level() -> None:
    assert level_dbfs(np.zeros(RATE_HZ, np.float32), RATE_HZ) is None


def test_pauses_do_not_lower_the_level() -> None:
    spoken = voice(120.0)
    paused = np.concatenate([spoken, np.zeros(5 * RATE_HZ, np.float32)])
    level = level_dbfs(spoken, RATE_HZ)
    assert level is not None
    assert level_dbfs(paused, RATE_HZ) == pytest.approx(level, abs=0.2)
    assert level_dbfs(spoken * np.float32(0.5), RATE_HZ) == pytest.approx(level - 6.02, abs=0.1)


def segment(index: int, characters: int, seconds: float) -> Segment:
    return Segment(index, TextSpan(0, characters), 10, 50, int(seconds * RATE_HZ), "stop")


def test_pace_is_of_the_segments_that_begin_in_the_stretch() -> None:
    segments = [segment(0, 10, 1.0), segment(1, 40, 2.0), segment(2, 90, 3.0)]
    assert pace(segments, RATE_HZ, 0.0, 1.5) == pytest.approx(50 / 3)
    assert pace(segments, RATE_HZ, 3.0, 9.0) == pytest.approx(30.0)
    assert pace(segments, RATE_HZ, 7.0, 9.0) is None


def test_a_stretch_is_described_by_its_own_samples() -> None:
    samples = np.concatenate([voice(100.0), voice(200.0)])
    segments = [segment(0, 10, 1.0), segment(1, 20, 1.0)]
    first, last = (manner(samples, segments, RATE_HZ, begin, begin + 1.0) for begin in (0.0, 1.0))
    assert (first.pitch_hz, last.pitch_hz) == pytest.approx((100.0, 200.0), rel=0.03)
    assert (first.characters_per_second, last.characters_per_second) == pytest.approx((10.0, 20.0))


def test_memory_slope_is_of_the_settled_part() -> None:
    seconds = [float(second) for second in range(120)]
    growing = [100 + second / 60 for second in seconds]
    warming = [second * 10 if second < 30 else 300.0 for second in seconds]
    assert slope_per_minute(seconds, growing) == pytest.approx(1.0)
    assert slope_per_minute(seconds, warming) == pytest.approx(0.0)


def test_flat_memory_has_a_slope_and_too_few_samples_have_none() -> None:
    processes = {"frontend": psutil.Process()}
    seconds = [float(second) for second in range(80)]
    assert MemoryTrace(processes, seconds, {"frontend": [5.0] * 80}).slopes() == {"frontend": pytest.approx(0.0)}
    assert MemoryTrace(processes, seconds[:78], {"frontend": [5.0] * 78}).slopes() == {"frontend": None}
    assert MemoryTrace(processes).slopes() == {"frontend": None}


TEXT = [Arrival(0.0, 10), Arrival(5.0, 20), Arrival(9.0, 30)]


def speech(*pieces: tuple[float, float, int]) -> SlowSpeech:
    """Pieces as (arrived, seconds, end of their segment's text)."""
    made = [Piece(arrived, seconds) for arrived, seconds, _ in pieces]
    return SlowSpeech(TEXT, 10.0, made, [end for _, _, end in pieces])


def test_a_silence_before_the_text_is_there_is_the_texts() -> None:
    found = blame(speech((0.5, 1.0, 9), (5.4, 1.0, 19)))
    assert (len(found.system), len(found.text)) == (0, 1)
    assert found.answer_seconds == pytest.approx([0.5, 0.4])


def test_a_silence_with_the_text_there_is_the_systems() -> None:
    found = blame(speech((0.5, 5.0, 9), (5.9, 1.0, 19)))
    assert [gap.seconds for gap in found.system] == pytest.approx([0.4])
    assert not found.text


def test_a_silence_inside_a_segment_is_the_systems() -> None:
    found = blame(speech((0.5, 0.1, 9), (0.9, 1.0, 9)))
    assert len(found.system) == 1


def test_a_segment_that_ends_with_the_text_is_known_at_its_end() -> None:
    """Nothing follows that could show where it ends."""
    found = blame(speech((0.5, 0.2, 9), (10.3, 1.0, 30)))
    assert len(found.text) == 1
    assert found.answer_seconds[-1] == pytest.approx(0.3)


def test_a_text_without_speech_has_nobody_to_blame() -> None:
    found = blame(speech())
    assert (found.system, found.text, found.answer_seconds) == ([], [], [])


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0.01, 3), st.integers(1, 30)), min_size=1, max_size=12))
def test_every_silence_has_one_cause(parts: list[tuple[float, float, int]]) -> None:
    at, pieces = 0.0, []
    for wait, seconds, end in parts:
        at += wait
        pieces.append((at, seconds, end))
    made = speech(*pieces)
    found = blame(made)
    assert sorted([*found.system, *found.text]) == gaps(made.pieces)


KNOWN = Conditions("balanced", 4, 0.8)
MANNER = Manner(120.0, -20.0, 14.0)
SECONDS = [float(second) for second in range(200)]
FLAT = MemoryTrace({"frontend": psutil.Process()}, SECONDS, {"frontend": [5.0] * 200})
WHOLE = LongSpeech(0, 0, 601.0, 200.0, MANNER, MANNER, [], FLAT)


def failing(speech: LongSpeech) -> list[str]:
    """Keys of the figures that fail a soak of ten minutes."""
    return [each.partition(" ")[0] for each in report.failures(figures_of_long(speech, 10.0, KNOWN))]


def test_ten_minutes_that_stay_as_they_were_pass() -> None:
    assert failing(WHOLE) == []


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"audio_seconds": 599.0}, "long_audio_s"),
        ({"unspoken_letters": 1}, "long_unspoken_letters"),
        ({"cut_segments": 1}, "long_cut_segments"),
        ({"last": replace(MANNER, pitch_hz=110.0)}, "pitch_drift_pct"),
        ({"last": replace(MANNER, pitch_hz=None)}, "pitch_drift_pct"),
        ({"first": replace(MANNER, level_dbfs=-22.5)}, "level_drift_db"),
        ({"first": replace(MANNER, level_dbfs=None)}, "level_drift_db"),
        ({"last": replace(MANNER, characters_per_second=15.5)}, "pace_drift_pct"),
        ({"last": replace(MANNER, characters_per_second=None)}, "pace_drift_pct"),
        ({"memory": replace(FLAT, megabytes={"frontend": SECONDS})}, "memory_slope_frontend_mb_per_min"),
        ({"memory": MemoryTrace(FLAT.processes)}, "memory_slope_frontend_mb_per_min"),
        ({"memory": MemoryTrace({})}, "memory_slope"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_soak_fails_when_something_is_cut_drifts_grows_or_was_not_measured(changed: Any, key: str) -> None:
    assert failing(replace(WHOLE, **changed)) == [key]


def test_underruns_of_a_long_speech_are_the_machines() -> None:
    made = figures_of_long(replace(WHOLE, gaps=[Gap(3, 1.0, 0.2)]), 10.0, KNOWN)
    assert made["long_underruns"]["met"] is False
    assert report.failures(made) == []


def slowly(*pieces: tuple[float, float, int]) -> list[str]:
    """Keys of the figures that fail a text of thirty letters that arrived slowly."""
    made = replace(speech(*pieces), text="a" * 30)
    return [each.partition(" ")[0] for each in report.failures(figures_of_slow(made, KNOWN))]


def test_a_slow_text_passes_when_all_of_it_was_spoken_and_some_was_waited_for() -> None:
    assert slowly((0.5, 0.2, 9), (10.3, 1.0, 30)) == []


def test_a_slow_text_that_ends_early_fails() -> None:
    assert slowly((0.5, 0.2, 9), (10.3, 1.0, 20)) == ["slow_unspoken_letters"]


def test_a_text_that_was_never_waited_for_was_not_slow() -> None:
    assert slowly((0.5, 10.0, 30)) == ["slow_silences_for_want_of_text"]


def test_a_slow_text_of_which_nothing_was_spoken_fails() -> None:
    assert slowly() == ["slow_unspoken_letters", "slow_silences_for_want_of_text", "slow_answer_p50_ms"]
