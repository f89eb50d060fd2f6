"""Kaldi filter bank of the voice's recording, the input of the style network (§4, step 7)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RATE = 16000
FRAME_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SIZE = 512
LOWEST_HERTZ, HIGHEST_HERTZ = 20.0, 8000.0
PRE_EMPHASIS = 0.97
FLOOR = 1.1920928955078125e-07
"""Smallest step of float32 above 1."""


def kaldi_fbank(audio: Tensor, num_bins: int = 80) -> Tensor:
    """Audio (N,) in [-1, 1] at 16 kHz to log energies (T, num_bins), T = 1 + (N - 400) // 160.

    Computed in float64, because the logarithm magnifies rounding in silent bins.

    Raises:
        ValueError: if the audio is shorter than one frame.
    """
    if audio.dim() != 1 or len(audio) < FRAME_SAMPLES:
        raise ValueError(f"need one channel of {FRAME_SAMPLES} samples or more, got {tuple(audio.shape)}")
    frames = audio.double().unfold(0, FRAME_SAMPLES, HOP_SAMPLES)
    frames = frames - frames.mean(1, keepdim=True)
    before = torch.cat((frames[:, :1], frames[:, :-1]), dim=1)
    frames = (frames - PRE_EMPHASIS * before) * povey_window(audio.device)
    power = torch.fft.rfft(frames, FFT_SIZE).abs().square()
    bank = torch.from_numpy(kaldi_bank(num_bins)).to(power.device)
    energies: Tensor = power @ bank.T
    return energies.clamp(min=FLOOR).log().float()


def povey_window(device: torch.device) -> Tensor:
    """A symmetric Hann window to the power 0.85."""
    hann = torch.hann_window(FRAME_SAMPLES, periodic=False, dtype=torch.float64, device=device)
    return hann**0.85


@lru_cache(maxsize=2)
def kaldi_bank(num_bins: int) -> NDArray[np.float64]:
    """Triangles of height 1, equally spaced and straight on the mel scale: (num_bins, 257)."""
    lowest, highest = _mel(np.array([LOWEST_HERTZ, HIGHEST_HERTZ]))
    edges = np.linspace(float(lowest), float(highest), num_bins + 2)
    position = _mel(np.linspace(0, RATE / 2, FFT_SIZE // 2 + 1))
    width = edges[1] - edges[0]
    rising = (position - edges[:-2, None]) / width
    falling = (edges[2:, None] - position) / width
    return np.asarray(np.maximum(0, np.minimum(rising, falling)), dtype=np.float64)


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1127 * np.log1p(hertz / 700), dtype=np.float64)
