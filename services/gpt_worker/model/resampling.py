"""Windowed-sinc resampling of the speaker route (§4.2), equal bit for bit to the published one."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd, pi

import torch
from torch import Tensor
from torch.nn import functional as F

_ZERO_CROSSINGS = 6
_ROLLOFF = 0.99


def resample(audio: Tensor, source_hz: int, target_hz: int) -> Tensor:
    """Resample float32 audio (N,) to ceil(N·target/source) samples."""
    if source_hz == target_hz:
        return audio
    divisor = gcd(source_hz, target_hz)
    source, target = source_hz // divisor, target_hz // divisor
    kernel, margin = _kernel(source, target)
    padded = F.pad(audio, (margin, margin + source))
    phases = F.conv1d(padded[None, None], kernel.to(audio.device), stride=source)  # (1, target, steps)
    return phases[0].T.reshape(-1)[: ceil(target * audio.shape[-1] / source)]


@lru_cache(maxsize=8)
def _kernel(source: int, target: int) -> tuple[Tensor, int]:
    """Return the filter of each output phase, (target, 1, taps), and the taps before its centre."""
    cutoff = _ROLLOFF * min(source, target)
    margin = ceil(_ZERO_CROSSINGS * source / cutoff)
    taps = torch.arange(-margin, margin + source, dtype=torch.float64) / source
    # The phase is a float32 quotient in the published kernel; float64 here shifts the log-mel by 6e-4.
    phase = torch.arange(0, -target, -1)[:, None, None] / target
    time = ((phase + taps) * cutoff).clamp(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = torch.cos(time * pi / _ZERO_CROSSINGS / 2) ** 2
    angle = time * pi
    sinc = torch.where(angle == 0, torch.ones_like(angle), angle.sin() / angle)
    return (sinc * window * (cutoff / source)).float(), margin
