"""Input features of the semantic encoder (§4.3): Kaldi-style log-mel, normalised, two frames stacked.

Float64 up to the logarithm, because the published features are computed so.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16000

_FRAME = 400
_HOP = 160
_FFT = 512
_MEL_BINS = 80
_LOWEST_HZ, _HIGHEST_HZ = 20.0, 8000.0
_PREEMPHASIS = 0.97
_FLOOR = 1.192092955078125e-07
_PADDING = 1.0

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def semantic_features(audio: Float32) -> tuple[Float32, NDArray[np.int32]]:
    """Compute the encoder's input from 16 kHz audio (N,) in [-1, 1].

    Returns:
        features (T, 160), about 50 rows per second, and mask (T,): 0 marks a last row whose
        second half is padding.
    """
    log_mel = log_mel_frames(audio)
    mean, variance = log_mel.mean(axis=0), log_mel.var(axis=0, ddof=1)
    normalised = (log_mel - mean) / np.sqrt(variance + np.float32(1e-7))
    mask = np.ones(len(normalised), np.int32)
    if len(normalised) % 2:
        normalised = np.pad(normalised, ((0, 1), (0, 0)), constant_values=_PADDING)
        mask = np.pad(mask, (0, 1))
    return normalised.reshape(-1, 2 * _MEL_BINS).astype(np.float32), mask[1::2]


def log_mel_frames(audio: Float32) -> Float32:
    """Log-mel energies (frames, 80) of 16 kHz audio, 1 + (N - 400) // 160 frames."""
    if len(audio) < _FRAME + _HOP:
        raise ValueError(f"audio has {len(audio)} samples; features need at least {_FRAME + _HOP}")
    scaled = audio.astype(np.float64) * 2.0**15
    frames = np.lib.stride_tricks.sliding_window_view(scaled, _FRAME)[::_HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    # The window is 0 at the first sample, so its predecessor may be anything.
    emphasised = frames - _PREEMPHASIS * np.pad(frames[:, :-1], ((0, 0), (1, 0)))
    power = np.abs(np.fft.rfft(emphasised * _povey_window(), _FFT)) ** 2
    return np.log(np.maximum(power @ _mel_triangles(), _FLOOR)).astype(np.float32)


@cache
def _povey_window() -> Float64:
    return np.asarray(np.hanning(_FRAME) ** 0.85, dtype=np.float64)


@cache
def _mel_triangles() -> Float64:
    """Weights (257, 80): triangles of height 1, linear on the mel scale."""
    edges = np.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), _MEL_BINS + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    bins = _mel(np.arange(_FFT // 2 + 1) * SAMPLE_RATE_HZ / _FFT)[:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)), dtype=np.float64)


def _mel(hertz: float | Float64) -> Float64:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0), dtype=np.float64)
