"""Whether a voice stays what it was: pitch, loudness and pace of a part of a long speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from triptych import Segment

_FRAME_SECONDS = 0.04
_HOP_SECONDS = 0.02
_LEAST_HZ, _MOST_HZ = 60.0, 400.0
_VOICED = 0.5
"""Least normalised autocorrelation of a voiced frame."""
_QUIET_DBFS = -40.0
"""Frames below are pauses."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Manner:
    """How a stretch of speech sounds; None where it has nothing that could say so."""

    pitch_hz: float | None
    """Median over voiced frames."""
    level_dbfs: float | None
    """RMS of the frames that are no pauses."""
    characters_per_second: float | None
    """Of the text whose speech begins in the stretch, pauses included."""


def pitch_hz(samples: Floats, rate_hz: int) -> float | None:
    """Return the median pitch of the voiced frames, by autocorrelation; None when none is voiced.

    Args:
        samples: [samples], full scale 1.
        rate_hz: Their rate.
    """
    frames = _frames(samples, rate_hz)
    frames = frames[_levels(frames) > _QUIET_DBFS]
    if not len(frames):
        return None
    centred = frames - frames.mean(axis=1, keepdims=True)
    size = centred.shape[1]
    spectrum = np.fft.rfft(centred, 2 * size)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:, :size]
    # A longer lag has fewer products: without the division the lowest pitch would always lose.
    normalised = correlation / np.maximum(correlation[:, :1], 1e-12) * (size / (size - np.arange(size)))
    least, most = int(rate_hz / _MOST_HZ), int(rate_hz / _LEAST_HZ)
    searched = normalised[:, least:most]
    voiced = searched.max(axis=1) > _VOICED
    lags = _first_peak(searched[voiced]) + least
    return float(np.median(rate_hz / lags)) if voiced.any() else None


def level_dbfs(samples: Floats, rate_hz: int) -> float | None:
    """Return the RMS level of the frames that are no pauses; None when all are."""
    levels = _levels(_frames(samples, rate_hz))
    loud = levels[levels > _QUIET_DBFS]
    return float(10 * np.log10(np.mean(10 ** (loud / 10)))) if len(loud) else None


def pace(segments: Sequence[Segment], rate_hz: int, begin: float, end: float) -> float | None:
    """Return the characters per second of the segments that begin in [begin, end) seconds; None when none does."""
    characters = samples = at = 0
    for segment in segments:
        if begin <= at / rate_hz < end:
            characters += segment.text_span.end - segment.text_span.start
            samples += segment.samples
        at += segment.samples
    return characters * rate_hz / samples if samples else None


def manner(samples: Floats, segments: Sequence[Segment], rate_hz: int, begin: float, end: float) -> Manner:
    """Describe the stretch from `begin` to `end`, in seconds."""
    part = samples[int(begin * rate_hz) : int(end * rate_hz)]
    return Manner(pitch_hz(part, rate_hz), level_dbfs(part, rate_hz), pace(segments, rate_hz, begin, end))


def _frames(samples: Floats, rate_hz: int) -> NDArray[np.float64]:
    """[frames, samples of a frame]; a last one that is not whole is left out."""
    size, hop = int(_FRAME_SECONDS * rate_hz), int(_HOP_SECONDS * rate_hz)
    if len(samples) < size:
        return np.zeros((0, size))
    return np.lib.stride_tricks.sliding_window_view(samples, size)[::hop].astype(np.float64)


def _levels(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(np.square(frames).mean(axis=1), 1e-12))
    return levels


def _first_peak(searched: NDArray[np.float64]) -> NDArray[np.int64]:
    """The shortest lag that is nearly as good as the best: its multiples are as good and would be an octave below."""
    near = searched >= 0.9 * searched.max(axis=1, keepdims=True)
    # The slope of the best peak of each row begins here; its top is where the values stop to rise.
    return np.array([_top(row, int(begin)) for row, begin in zip(searched, near.argmax(axis=1), strict=True)], np.int64)


def _top(row: NDArray[np.float64], begin: int) -> int:
    falling = np.flatnonzero(np.diff(row[begin:]) <= 0)
    return begin + int(falling[0]) if len(falling) else len(row) - 1
