"""Signal features, as IndexTTS2 computes them: Kaldi filter banks at 16 kHz and log mels at 22.05 kHz."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

FloatArray = npt.NDArray[np.float64]

MEL_RATE = 22050
MEL_HOP = 256
ENCODER_RATE = 16000
CODES_PER_SECOND = 50
FRAMES_PER_CODE = 1.72  # the published constant of the target length
TRUE_FRAMES_PER_CODE = MEL_RATE / MEL_HOP / CODES_PER_SECOND
LOG_FLOOR = float(np.log(1.1920929e-07))
LOG_INT16_POWER = float(2 * np.log(32768.0))


def kaldi_mel(frequency: FloatArray | float) -> FloatArray:
    return np.asarray(1127.0 * np.log(1.0 + np.asarray(frequency) / 700.0))


@cache
def kaldi_filters(num_bins: int = 80, low: float = 20.0, high: float = 8000.0) -> Tensor:
    """Triangles in mel space over the 257 bins of a 512-point FFT, shape (257, num_bins)."""
    points = np.linspace(kaldi_mel(low), kaldi_mel(high), num_bins + 2)
    bins = kaldi_mel(np.arange(257) * ENCODER_RATE / 512)
    rising = (bins[None] - points[:-2, None]) / (points[1:-1] - points[:-2])[:, None]
    falling = (points[2:, None] - bins[None]) / (points[2:] - points[1:-1])[:, None]
    return torch.from_numpy(np.maximum(0.0, np.minimum(rising, falling)).T.astype(np.float32))


@cache
def povey_window() -> Tensor:
    return torch.hann_window(400, periodic=False) ** 0.85


def log_filter_bank(wave: Tensor) -> Tensor:
    """(N,) at 16 kHz in [-1, 1] -> (T, 80) natural log power of int16-scaled samples."""
    frames = (wave * 32768.0).unfold(0, 400, 160)
    frames = frames - frames.mean(1, keepdim=True)
    emphasised = torch.cat([frames[:, :1] * 0.03, frames[:, 1:] - 0.97 * frames[:, :-1]], 1)
    power = torch.fft.rfft(emphasised * povey_window(), 512).abs() ** 2
    return torch.log(torch.clamp(power @ kaldi_filters(), min=1.1920929e-07))


def encoder_input(bank: Tensor) -> Tensor:
    """(T, 80) log filter bank -> (T // 2, 160), every bin normalised over the clip."""
    bank = (bank - bank.mean(0)) / torch.sqrt(bank.var(0, unbiased=True) + 1e-7)
    return bank[: len(bank) // 2 * 2].reshape(-1, 160)


def style_input(bank: Tensor) -> Tensor:
    """(T, 80) log filter bank of int16 samples -> what CAM++ reads: [-1, 1] scale, floored, mean removed."""
    unit = torch.clamp(bank - LOG_INT16_POWER, min=LOG_FLOOR)
    return unit - unit.mean(0)


def slaney_mel(frequency: FloatArray | float) -> FloatArray:
    frequency = np.asarray(frequency, dtype=np.float64)
    logarithmic = 15.0 + np.log(np.maximum(frequency, 1e-9) / 1000.0) / (np.log(6.4) / 27.0)
    return np.asarray(np.where(frequency >= 1000.0, logarithmic, frequency * 3.0 / 200.0))


def slaney_frequency(mel: FloatArray) -> FloatArray:
    logarithmic = 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0)
    return np.asarray(np.where(mel >= 15.0, logarithmic, mel * 200.0 / 3.0))


@cache
def slaney_filters(num_fft: int = 1024, num_mels: int = 80, high: float = MEL_RATE / 2) -> Tensor:
    """Area-normalised triangles, shape (num_mels, num_fft // 2 + 1)."""
    points = slaney_frequency(np.linspace(slaney_mel(0.0), slaney_mel(high), num_mels + 2))
    bins = np.arange(num_fft // 2 + 1) * MEL_RATE / num_fft
    rising = (bins[None] - points[:-2, None]) / (points[1:-1] - points[:-2])[:, None]
    falling = (points[2:, None] - bins[None]) / (points[2:] - points[1:-1])[:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (points[2:] - points[:-2]))[:, None]
    return torch.from_numpy(weights.astype(np.float32))


def log_mel(wave: Tensor) -> Tensor:
    """(B, N) at 22.05 kHz -> (B, 80, N // 256) log magnitudes."""
    padded = F.pad(wave[:, None], (384, 384), mode="reflect")[:, 0]
    window = torch.hann_window(1024, device=wave.device)
    spectrum = torch.stft(padded, 1024, MEL_HOP, 1024, window, center=False, return_complex=True)
    magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
    return torch.log(torch.clamp(slaney_filters().to(wave.device) @ magnitude, min=1e-5))


def frames_of(num_codes: int) -> int:
    """How many mel frames `num_codes` codes own."""
    return int(np.float32(num_codes) * np.float32(FRAMES_PER_CODE))
