"""Judges for the vocoder's adversarial phase: periods and spectra, small enough for a CPU."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.mini.codec import weight_norm

PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = ((1024, 256), (512, 128), (2048, 512))
SLOPE = 0.1


class PeriodJudge(nn.Module):
    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, width, 2 * width, 4 * width, 8 * width]
        convs = [nn.Conv2d(i, o, (5, 1), (3, 1), (2, 0)) for i, o in pairwise(widths)]
        convs.append(nn.Conv2d(widths[-1], widths[-1], (5, 1), 1, (2, 0)))
        self.convs = nn.ModuleList([weight_norm(conv) for conv in convs])
        self.out = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0)))

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 1, N) -> verdicts and the features on the way."""
        spare = -wave.shape[-1] % self.period
        x = F.pad(wave, (0, spare), mode="reflect").view(wave.shape[0], 1, -1, self.period)
        seen = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            seen.append(x)
        return self.out(x), seen


class SpectrumJudge(nn.Module):
    def __init__(self, size: int, hop: int, width: int) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        convs = [nn.Conv2d(1, width, (3, 9), padding=(1, 4))]
        convs += [nn.Conv2d(width, width, (3, 9), (1, 2), (1, 4)) for _ in range(3)]
        convs.append(nn.Conv2d(width, width, 3, padding=1))
        self.convs = nn.ModuleList([weight_norm(conv) for conv in convs])
        self.out = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        window = self.window
        assert isinstance(window, Tensor)
        spectrum = torch.stft(wave[:, 0], self.size, self.hop, self.size, window, return_complex=True)
        x = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-6)[:, None].transpose(2, 3)
        seen = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            seen.append(x)
        return self.out(x), seen


class Judges(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        periods = [PeriodJudge(period, width) for period in PERIODS]
        spectra = [SpectrumJudge(size, hop, width) for size, hop in RESOLUTIONS]
        self.judges = nn.ModuleList([*periods, *spectra])

    def forward(self, wave: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        verdicts, seen = zip(*[judge(wave) for judge in self.judges], strict=True)
        return list(verdicts), [feature for features in seen for feature in features]
