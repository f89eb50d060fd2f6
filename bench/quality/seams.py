"""How far sound jumps at each place where two pieces of a stream meet.

Speech jumps by itself: a stop consonant is a step in energy wherever windows happen to end. So a jump says nothing
alone: every seam of a stream is measured twice, in the stream and, at the very same place, in the whole render of the
same codes, noise, prompt and solver; `bench.quality.ratios` compares the two.

Two jumps are measured, for there are two ways to hear a seam: a step in loudness, and a step in timbre that leaves
the loudness alone.

- Energy: |ln RMS of the 10 ms after - ln RMS of the 10 ms before|, with 60 dB below full scale added to both, so that
  silence against silence is no jump.
- Spectrum: mean over the bins of |log mel frame that begins at the seam - the frame before|, of the sound itself.
- The same of the mel that S2Mel gave, as an aside: the vocoder has not smoothed it yet, so it shows a fault earlier.

Where windows are blended over some frames, every step from frame to frame of the blend is a place of its own, in both
renders alike: nine places of a seam that is blended over eight frames. They stay apart in all that follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.common.arrays import Array

Jumps = NDArray[np.float64]
"""(S, P): seams and their places; NaN where the sound ends before a place."""

Places = NDArray[np.int64]
"""(S, P): frames before which a seam may be heard; `BEYOND` where the sound ends before."""

BEYOND = -1

_FLOOR_RMS = 1e-3
_SIDE_SECONDS = 0.01


def places(borders: Sequence[int], blend: int, num_frames: int) -> Places:
    """Of each border: itself, and as many frames after it as are blended."""
    frames = np.asarray(borders, np.int64).reshape(-1, 1) + np.arange(blend + 1)
    return np.where(frames < num_frames, frames, BEYOND)


def energy_jumps(samples: Array, frames: Places, *, frame_samples: int, rate_hz: int) -> Jumps:
    """Jumps in loudness; `samples` (N,) in [-1, 1]."""
    side = round(_SIDE_SECONDS * rate_hz)
    power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])

    def log_rms(start: Places) -> Jumps:
        first, stop = np.clip(start, 0, len(samples)), np.clip(start + side, 0, len(samples))
        mean = (power[stop] - power[first]) / np.maximum(1, stop - first)
        return np.asarray(0.5 * np.log(np.maximum(mean, 0.0) + _FLOOR_RMS**2))

    return _known(frames, np.abs(log_rms(frames * frame_samples) - log_rms(frames * frame_samples - side)))


def spectral_jumps(log_mel: Array, frames: Places) -> Jumps:
    """Jumps in timbre; `log_mel` (T, M)."""
    return _known(frames, np.abs(log_mel[frames] - log_mel[frames - 1]).mean(axis=-1, dtype=np.float64))


def _known(frames: Places, jumps: Jumps) -> Jumps:
    return np.where(frames == BEYOND, np.nan, jumps)
