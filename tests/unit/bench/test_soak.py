"""What a soak says of a speech follows from its samples, its arrivals and its text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from triptych import Segment, TextSpan

from bench.load.playback import Piece, gaps
from bench.soak.drift import Floats, level_dbfs, manner, pace, pitch_hz
from bench.soak.memory import MemoryTrace, slope_per_minute
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
    assert pitch_hz(noise, RATE_HZ) == 0.0
    assert pitch_hz(np.zeros(RATE_HZ, np.float32), RATE_HZ) == 0.0


def test_pauses_do_not_lower_the_level() -> None:
    spoken = voice(120.0)
    paused = np.concatenate([spoken, np.zeros(5 * RATE_HZ, np.float32)])
    assert level_dbfs(paused, RATE_HZ) == pytest.approx(level_dbfs(spoken, RATE_HZ), abs=0.2)
    assert level_dbfs(spoken * np.float32(0.5), RATE_HZ) == pytest.approx(level_dbfs(spoken, RATE_HZ) - 6.02, abs=0.1)


def segment(index: int, characters: int, seconds: float) -> Segment:
    return Segment(index, TextSpan(0, characters), 10, 50, int(seconds * RATE_HZ), "stop")


def test_pace_is_of_the_segments_that_begin_in_the_stretch() -> None:
    segments = [segment(0, 10, 1.0), segment(1, 40, 2.0), segment(2, 90, 3.0)]
    assert pace(segments, RATE_HZ, 0.0, 1.5) == pytest.approx(50 / 3)
    assert pace(segments, RATE_HZ, 3.0, 9.0) == pytest.approx(30.0)
    assert pace(segments, RATE_HZ, 7.0, 9.0) == 0.0


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
    trace = MemoryTrace({}, [0.0, 1.0, 2.0, 3.0, 4.0], {"frontend": [5.0] * 5})
    assert trace.slopes() == {"frontend": pytest.approx(0.0)}
    assert MemoryTrace({}, [0.0, 1.0], {"frontend": [5.0, 5.0]}).slopes() == {}


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
