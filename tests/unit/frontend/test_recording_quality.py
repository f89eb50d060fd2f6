"""What is said of recordings that can be used and are not good, on speech-like sound with white noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from services.frontend.recordings.facts import RecordingFacts, VoiceWarning, VoiceWarningReason
from services.frontend.recordings.quality import Samples, dynamic_range, warnings_of

RATE = 16_000
BUNDLED = sorted((Path(__file__).parents[3] / "models" / "mini" / "voices").glob("*.flac"))


def speech(*, seconds: float = 5.0, rate: int = RATE, level: float = 0.3) -> Samples:
    """Syllables of a buzzing voice, four a second, with a pause of a quarter of a second in each second."""
    time = np.arange(int(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    syllables = np.sin(np.pi * ((time * 4) % 1)) ** 0.5 * (time % 1 < 0.75)
    return np.asarray(level * buzz * syllables / np.abs(buzz).max(), np.float32)


def with_noise(clean: Samples, decibels: float) -> Samples:
    """Add white noise at this ratio of speech to noise."""
    noise = np.random.default_rng(0).standard_normal(len(clean))
    level = np.sqrt(np.mean(clean**2)) * 10 ** (-decibels / 20)
    return np.asarray(clean + level * noise, np.float32)


def reasons(samples: Samples, *, rate: int = RATE, seconds: float | None = None) -> set[VoiceWarningReason]:
    used = samples[: 15 * rate]
    found = warnings_of(used, rate, seconds=seconds or len(samples) / rate, used_seconds=15.0)
    assert all(warning.message for warning in found)
    return {warning.reason for warning in found}


def test_good_recording_gives_no_warning() -> None:
    assert reasons(speech()) == set()


@pytest.mark.parametrize("path", BUNDLED, ids=[path.stem for path in BUNDLED])
def test_bundled_recordings_give_no_warning(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="float32")

    assert reasons(samples, rate=rate) == set()


@pytest.mark.parametrize("path", [None, *BUNDLED], ids=["synthetic", *(path.stem for path in BUNDLED)])
@pytest.mark.parametrize(("decibels", "is_noisy"), [(40, False), (25, False), (18, False), (10, True), (0, True)])
def test_noise_in_the_pauses_is_heard(path: Path | None, decibels: float, is_noisy: bool) -> None:
    clean, rate = (speech(), RATE) if path is None else soundfile.read(path, dtype="float32")

    assert (VoiceWarningReason.NOISY in reasons(with_noise(clean, decibels), rate=rate)) == is_noisy


@settings(max_examples=15, deadline=None)
@given(st.floats(1e-3, 1.0), st.sampled_from([8_000, 16_000, 24_000, 48_000]))
def test_noise_does_not_depend_on_level_or_rate(level: float, rate: int) -> None:
    loud = dynamic_range(with_noise(speech(seconds=2.0, rate=rate), 15), rate)
    quiet = dynamic_range(level * with_noise(speech(seconds=2.0, rate=rate), 15), rate)

    assert quiet == pytest.approx(loud, abs=0.5)


def test_digital_silence_in_the_pauses_is_no_noise() -> None:
    assert np.isfinite(dynamic_range(speech(), RATE))
    assert reasons(np.concatenate([speech(), np.zeros(RATE, np.float32)])) == set()


@pytest.mark.parametrize(("seconds", "is_short"), [(2.9, True), (3.0, False)])
def test_less_than_three_seconds_are_short(seconds: float, is_short: bool) -> None:
    assert (VoiceWarningReason.SHORT in reasons(speech(seconds=seconds))) == is_short


@pytest.mark.parametrize(("seconds", "is_long"), [(15.0, False), (15.5, True)])
def test_more_than_fifteen_seconds_are_long(seconds: float, is_long: bool) -> None:
    assert (VoiceWarningReason.LONG in reasons(speech(seconds=seconds))) == is_long


def test_clipped_recording_is_told_from_a_loud_one() -> None:
    loud = speech(level=0.99)

    assert VoiceWarningReason.CLIPPED not in reasons(loud)
    assert VoiceWarningReason.CLIPPED in reasons(np.clip(3 * loud, -1, 1))


@pytest.mark.parametrize(("rate", "is_low"), [(8_000, True), (15_999, True), (16_000, False)])
def test_less_than_16_khz_is_low(rate: int, is_low: bool) -> None:
    assert (VoiceWarningReason.LOW_SAMPLE_RATE in reasons(speech(rate=rate), rate=rate)) == is_low


def test_several_flaws_are_all_named() -> None:
    bad = np.clip(5 * with_noise(speech(seconds=2.0, rate=8_000), 0), -1, 1)

    assert reasons(bad, rate=8_000) == {
        VoiceWarningReason.SHORT,
        VoiceWarningReason.CLIPPED,
        VoiceWarningReason.NOISY,
        VoiceWarningReason.LOW_SAMPLE_RATE,
    }


def test_facts_come_back_from_json() -> None:
    facts = RecordingFacts(3.0, 3.0, 16_000, 2, (VoiceWarning(VoiceWarningReason.NOISY, "hiss"),))

    assert RecordingFacts.from_json(facts.to_json()) == facts


@pytest.mark.parametrize(
    "data", [None, [], {}, {"warnings": ["clipped"]}, {"warnings": [["LOUD", "x"]]}, {"warnings": 5}, {"more": 1}]
)
def test_what_is_no_facts_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        RecordingFacts.from_json(data)  # type: ignore[arg-type]
