"""How much more sound jumps where two pieces of a stream meet than it does there when it is rendered whole.

Speech jumps by itself: a stop consonant is a step in energy wherever windows happen to end. So a jump says nothing
alone. Here every seam of a stream is measured twice, in the stream and, at the very same place, in the whole render
of the same codes and noise; the figure is the quotient of the two 95th percentiles. 1 means that the worst joins of
the stream are as smooth as speech is there anyway.

Two jumps are measured, for there are two ways to hear a seam: a step in loudness, and a step in timbre that leaves
the loudness alone. The figure with a goal is the larger of the two quotients, since either one alone is a fault; a
mean would let one hide the other. Percentiles and not means, because a seam in ten that clicks is what a listener
hears, and the 95th instead of the maximum, because the maximum of a thousand values is decided by one of them.

- Energy: |ln RMS of the 10 ms after - ln RMS of the 10 ms before|, with 60 dB below full scale added to both, so that
  silence against silence is no jump.
- Spectrum: mean over the bins of |log mel frame that begins at the seam - the frame before|, of the sound itself.
- The same of the mel that S2Mel gave, as an aside: the vocoder has not smoothed it yet, so it shows a fault earlier.

Where windows are blended over some frames, every step from frame to frame of the blend is a place of its own, in both
renders alike. To take the largest step of a blend instead would flatter it: the largest of nine steps of speech is
large in the whole render too, and the quotient nears 1 whatever is done. To look at the first step alone would be
fooled by a blend that jumps at its end.

The same quotient of means is given beside it: it moves less from sample to sample and shows which of two policies
joins better when only a few hundred seams were rendered.

Intervals are made by drawing whole utterances with replacement: seams of one utterance are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.arrays import Array

Jumps = NDArray[np.float64]

Places = NDArray[np.int64]

_FLOOR_RMS = 1e-3
_SIDE_SECONDS = 0.01
_PERCENTILE = 95
_RESAMPLES = 500
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Ratio:
    """A quotient of percentiles with its 95 % bootstrap interval; NaN where there is no place."""

    value: float
    low: float
    high: float
    num_places: int


def places(borders: Sequence[int], blend: int, num_frames: int) -> Places:
    """Frames before which a seam may be heard: each border, and as many frames after it as are blended."""
    frames = np.asarray(borders, np.int64).reshape(-1, 1) + np.arange(blend + 1)
    return np.asarray(frames[frames < num_frames])


def energy_jumps(samples: Array, frames: Places, *, frame_samples: int, rate_hz: int) -> Jumps:
    """Jump in loudness (S,) before each of some frames; `samples` (N,) in [-1, 1]."""
    side = round(_SIDE_SECONDS * rate_hz)
    power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])

    def log_rms(start: Places) -> Jumps:
        first, stop = np.clip(start, 0, len(samples)), np.clip(start + side, 0, len(samples))
        mean = (power[stop] - power[first]) / np.maximum(1, stop - first)
        return np.asarray(0.5 * np.log(np.maximum(mean, 0.0) + _FLOOR_RMS**2))

    return np.asarray(np.abs(log_rms(frames * frame_samples) - log_rms(frames * frame_samples - side)))


def spectral_jumps(log_mel: Array, frames: Places) -> Jumps:
    """Jump in timbre (S,) before each of some frames of a log mel (T, M)."""
    return np.asarray(np.abs(log_mel[frames] - log_mel[frames - 1]).mean(axis=1, dtype=np.float64))


def ratio_of_means(streamed: Sequence[Jumps], whole: Sequence[Jumps]) -> Ratio:
    """Like `ratio_p95`, of the means: says less about the worst joins, but ranks policies with few seams."""
    return _ratio(streamed, whole, lambda pair: pair.mean(axis=1))


def ratio_p95(streamed: Sequence[Jumps], whole: Sequence[Jumps]) -> Ratio:
    """The quotient over all utterances: one array of jumps each, at the same seams in both."""
    return _ratio(streamed, whole, _p95)


def _p95(pair: Jumps) -> Jumps:
    """By nearest rank, which is quick: it is asked for hundreds of times."""
    rank = -(-pair.shape[1] * _PERCENTILE // 100)
    return np.asarray(np.sort(pair, axis=1)[:, rank - 1])


def _ratio(streamed: Sequence[Jumps], whole: Sequence[Jumps], size: Callable[[Jumps], Jumps]) -> Ratio:
    if [len(jumps) for jumps in streamed] != [len(jumps) for jumps in whole]:
        raise ValueError("the stream and the whole render must be measured at the same seams")
    pairs = [np.stack(pair) for pair in zip(streamed, whole, strict=True) if len(pair[0])]
    if not pairs:
        return Ratio(np.nan, np.nan, np.nan, 0)
    everything = np.concatenate(pairs, axis=1)
    rng = np.random.default_rng(0)
    drawn = [_quotient(size(_resampled(pairs, rng))) for _ in range(_RESAMPLES)]
    low, high = np.percentile(drawn, _INTERVAL)
    return Ratio(_quotient(size(everything)), float(low), float(high), everything.shape[1])


def _resampled(pairs: Sequence[Jumps], rng: np.random.Generator) -> Jumps:
    return np.concatenate([pairs[index] for index in rng.integers(0, len(pairs), len(pairs))], axis=1)


def _quotient(sizes: Jumps) -> float:
    streamed, whole = sizes
    return float(streamed / max(float(whole), 1e-9))
