"""What is wrong with a recording that can be used all the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.frontend.recordings.facts import VoiceWarning, VoiceWarningReason

SHORT_SECONDS = 3.0
LOW_RATE_HZ = 16_000
CLIPPED_LEVEL = 0.999
CLIPPED_SHARE = 1e-3
FRAME_SECONDS = 0.025
# Loud and quiet frames of speech with white noise lie about 6 dB further apart than the signal-to-noise ratio
# (`tests/unit/frontend/test_recording_quality.py`): 20 dB here are a ratio of 14 dB there.
NOISY_DECIBELS = 20.0
LOUD_PERCENTILE, QUIET_PERCENTILE = 95, 5
_FLOOR = 1e-6

Samples = npt.NDArray[np.float32]


def warnings_of(used: Samples, rate: int, *, seconds: float, used_seconds: float) -> list[VoiceWarning]:
    """Look at the part of a recording that is used.

    Args:
        used: Mono samples in [-1, 1], one dimension.
        rate: Their rate in Hz.
        seconds: Length of the whole recording.
        used_seconds: How much of a recording is used at most.
    """
    found = []
    if seconds < SHORT_SECONDS:
        found.append((VoiceWarningReason.SHORT, f"it lasts {seconds:.1f} s; 3 s or more sound more like the speaker"))
    if seconds > used_seconds:
        found.append((VoiceWarningReason.LONG, f"only the first {used_seconds:g} s of {seconds:.1f} s are used"))
    if float(np.mean(np.abs(used) >= CLIPPED_LEVEL)) > CLIPPED_SHARE:
        found.append((VoiceWarningReason.CLIPPED, "its loudest samples are cut off; record it at a lower level"))
    if (decibels := dynamic_range(used, rate)) < NOISY_DECIBELS:
        found.append((VoiceWarningReason.NOISY, f"its pauses are only {decibels:.0f} dB below its speech"))
    if rate < LOW_RATE_HZ:
        found.append((VoiceWarningReason.LOW_SAMPLE_RATE, f"its sample rate is {rate} Hz; 16000 or more sounds better"))
    return [VoiceWarning(*each) for each in found]


def dynamic_range(samples: Samples, rate: int) -> float:
    """How far quiet frames lie below loud ones, in decibels: not far where noise fills the pauses of speech."""
    length = int(rate * FRAME_SECONDS)
    frames = samples[: len(samples) // length * length].reshape(-1, length)  # (frames, samples)
    levels = np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1))
    loud, quiet = np.percentile(levels, [LOUD_PERCENTILE, QUIET_PERCENTILE])
    return float(20 * np.log10((loud + _FLOOR) / (quiet + _FLOOR)))
