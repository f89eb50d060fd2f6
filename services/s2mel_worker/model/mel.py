"""Log-mel of the voice's recording (§8.1): what the flow continues and the vocoder reads."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from services.common.checkpoint import PreprocessParams

FLOOR = 1e-5


def log_mel(audio: Tensor, params: PreprocessParams) -> Tensor:
    """Audio (N,) in [-1, 1] at `params.sr` to natural log mel (N // hop, bins).

    Raises:
        ValueError: if the audio is too short to be mirrored at its ends.
    """
    spect = params.spect_params
    pad = (spect.n_fft - spect.hop_length) // 2
    if audio.dim() != 1 or len(audio) <= pad:
        raise ValueError(f"need one channel of more than {pad} samples, got shape {tuple(audio.shape)}")
    padded = F.pad(audio[None], (pad, pad), mode="reflect")[0]
    window = torch.hann_window(spect.win_length, device=audio.device)
    spectrum = torch.stft(
        padded, spect.n_fft, spect.hop_length, spect.win_length, window, center=False, return_complex=True
    )
    magnitude = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)
    top = params.sr / 2 if spect.fmax in (None, "None") else float(spect.fmax)
    bank = torch.from_numpy(slaney_bank(params.sr, spect.n_fft, spect.n_mels, spect.fmin, top))
    return (bank.to(magnitude) @ magnitude).clamp(min=FLOOR).log().T


@lru_cache(maxsize=4)
def slaney_bank(rate: int, n_fft: int, num_bins: int, lowest: float, highest: float) -> NDArray[np.float32]:
    """Triangles of equal area, equally spaced on Slaney's scale: (num_bins, n_fft // 2 + 1)."""
    edges = _to_hertz(np.linspace(_to_mel(lowest), _to_mel(highest), num_bins + 2))
    frequencies = np.linspace(0, rate / 2, n_fft // 2 + 1)
    widths = np.diff(edges)[:, None]
    rising = (frequencies - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - frequencies) / widths[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


# Slaney's scale: linear to 1000 Hz, then 27 steps for each factor of 6.4.
_LINEAR_STEP = 200 / 3
_KNEE_HERTZ = 1000.0
_KNEE_MEL = _KNEE_HERTZ / _LINEAR_STEP
_LOG_STEP = np.log(6.4) / 27


def _to_mel(hertz: float) -> float:
    if hertz < _KNEE_HERTZ:
        return hertz / _LINEAR_STEP
    return float(_KNEE_MEL + np.log(hertz / _KNEE_HERTZ) / _LOG_STEP)


def _to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _KNEE_HERTZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _LINEAR_STEP, above)
