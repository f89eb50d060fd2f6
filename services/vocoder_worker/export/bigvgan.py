"""BigVGAN v2: mel to waveform (§8.2), with official key names, to be trained and exported.

The anti-aliased activation is computed in its two phases: the even and odd samples of the doubled signal
are channels of their own and never interleaved. Letters: B batch, C channels, T samples at the stage's rate.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import weight_norm

from services.common.checkpoint import CheckpointFiles
from services.common.weights import fuse_weight_norm, load_into, read_state

FILTER_TAPS = 12

FILTERS = r".*\.(upsample|downsample\.lowpass)\.filter"
"""Buffers of the published file; they are constants, computed here."""


@dataclass(frozen=True)
class BigVganConfig:
    """What of the vocoder's config.json shapes the network."""

    num_bins: int
    initial_channels: int
    rates: tuple[int, ...]
    """Upsampling of each stage."""
    up_kernels: tuple[int, ...]
    kernels: tuple[int, ...]
    """Kernel of each block that runs side by side in a stage."""
    dilations: tuple[tuple[int, ...], ...]
    has_final_bias: bool
    has_final_tanh: bool

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Read the published form.

        Raises:
            ValueError: for a kind of block or activation that is not built here.
        """
        for key, only in (("resblock", "1"), ("activation", "snakebeta"), ("snake_logscale", True)):
            if values.get(key) != only:
                raise ValueError(f"vocoder config: {key} = {values.get(key)!r}; only {only!r} is supported")
        config = cls(
            num_bins=values["num_mels"],
            initial_channels=values["upsample_initial_channel"],
            rates=tuple(values["upsample_rates"]),
            up_kernels=tuple(values["upsample_kernel_sizes"]),
            kernels=tuple(values["resblock_kernel_sizes"]),
            dilations=tuple(tuple(row) for row in values["resblock_dilation_sizes"]),
            has_final_bias=values.get("use_bias_at_final", True),
            has_final_tanh=values.get("use_tanh_at_final", True),
        )
        if math.prod(config.rates) != values.get("hop_size", math.prod(config.rates)):
            raise ValueError(f"vocoder config: upsample_rates {config.rates} do not make the hop size")
        return config

    @property
    def hop(self) -> int:
        """Samples per mel frame."""
        return math.prod(self.rates)


def kaiser_sinc() -> Tensor:
    """The low-pass filter of both resamplings: 12 taps, sum 1."""
    attenuation = 2.285 * (FILTER_TAPS // 2 - 1) * math.pi * (4 * 0.3) + 7.95
    window = torch.kaiser_window(FILTER_TAPS, periodic=False, beta=0.1102 * (attenuation - 8.7))
    time = torch.arange(-FILTER_TAPS // 2, FILTER_TAPS // 2) + 0.5
    taps = 0.5 * window * torch.sinc(0.5 * time)
    return taps / taps.sum()


class Snake(nn.Module):
    """Parameters of SnakeBeta: log frequency and log magnitude of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))


class Filter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", kaiser_sinc().view(1, 1, -1))


class LowPass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lowpass = Filter()


class Activation(nn.Module):
    """SnakeBeta at twice the sample rate, between two low-pass filters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = Snake(channels)
        self.upsample = Filter()
        self.downsample = LowPass()

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, C, T)
        return self.fold(double(x, self.upsample.get_buffer("filter")))

    def fold(self, phases: tuple[Tensor, Tensor]) -> Tensor:
        """Bend both phases of a doubled signal and take every second sample of it, low-passed."""
        even, odd = (self.bend(phase) for phase in phases)
        taps = self.downsample.lowpass.get_buffer("filter")
        # Sample n reads u[2n - 5 .. 2n + 6] with the ends repeated, and u[2n] is even[n].
        length = even.shape[2]
        channels = even.shape[1]
        even_taps, odd_taps = (taps[..., phase::2].expand(channels, 1, -1) for phase in (1, 0))
        first, last = even[..., :1], odd[..., length - 1 :]
        even = torch.cat((first.expand(-1, -1, 2), even, last.expand(-1, -1, 3)), dim=2)
        odd = torch.cat((first.expand(-1, -1, 3), odd, last.expand(-1, -1, 2)), dim=2)
        return F.conv1d(even, even_taps, groups=channels) + F.conv1d(odd, odd_taps, groups=channels)

    def bend(self, u: Tensor) -> Tensor:
        """u + sin²(u·α)/β."""
        magnitude = 1 / (self.act.beta.exp() + 1e-9)
        return u + magnitude[:, None] * torch.sin(u * self.act.alpha.exp()[:, None]).square()


def double(x: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd samples of x (B, C, T) at twice the rate, low-passed; ends repeated."""
    channels = x.shape[1]
    padded = F.pad(x, (3, 3), mode="replicate")
    # A transposed convolution reads the filter backwards; it is symmetric, but trained ones need not be.
    even = (2 * taps[..., 1::2]).flip(-1).expand(channels, 1, -1)
    odd = (2 * taps[..., 0::2]).flip(-1).expand(channels, 1, -1)
    return (
        F.conv1d(padded[..., :-1], even, groups=channels),
        F.conv1d(padded[..., 1:], odd, groups=channels),
    )


class Block(nn.Module):
    """AMPBlock1: for each dilation an activated convolution pair, added to its input."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=(kernel - 1) * d // 2) for d in dilations
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=kernel // 2) for _ in dilations)
        self.activations = nn.ModuleList(Activation(channels) for _ in range(2 * len(dilations)))

    def forward(self, x: Tensor) -> Tensor:
        for n, (first, second) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            y = first(self.activations[2 * n](x))
            x = x + second(self.activations[2 * n + 1](y))
        return x


class BigVgan(nn.Module):
    """Mel (B, bins, frames) to waveform (B, 1, hop * frames) in [-1, 1]."""

    def __init__(self, config: BigVganConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.initial_channels
        self.conv_pre = nn.Conv1d(config.num_bins, channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(config.rates, config.up_kernels, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(nn.ModuleList([up]))
            channels //= 2
            for block_kernel, dilations in zip(config.kernels, config.dilations, strict=True):
                self.resblocks.append(Block(channels, block_kernel, dilations))
        self.activation_post = Activation(channels)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=config.has_final_bias)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.conv_pre(mel)
        width = len(self.config.kernels)
        for n, up in enumerate(self.ups):
            assert isinstance(up, nn.ModuleList)
            x = up[0](x)
            x = torch.stack([block(x) for block in self.resblocks[n * width : (n + 1) * width]]).mean(0)
        y: Tensor = self.conv_post(self.activation_post(x))
        return torch.tanh(y) if self.config.has_final_tanh else y.clamp(-1, 1)


def add_weight_norm(model: BigVgan) -> None:
    """Give every convolution the published `weight_g` and `weight_v`, in place, for training."""
    for name, layer in list(model.named_modules()):
        if re.fullmatch(r"conv_pre|conv_post|ups\.\d+\.0|resblocks\.\d+\.convs[12]\.\d+", name):
            with warnings.catch_warnings():
                # The parametrised successor has other key names than the published files.
                warnings.simplefilter("ignore", FutureWarning)
                weight_norm(layer)


def load_bigvgan(files: CheckpointFiles) -> BigVgan:
    """Build the vocoder of a checkpoint in float32, weight norm fused, in evaluation mode.

    Raises:
        CheckpointError: naming files or tensors that are missing, unknown or of another shape.
        ValueError: for a config.json that describes another kind of vocoder.
    """
    files.require("bigvgan", "bigvgan_config")
    values = json.loads(files.bigvgan_config.read_text("utf-8"))
    model = BigVgan(BigVganConfig.from_mapping(values))
    state = fuse_weight_norm(read_state(files.bigvgan, "generator"))
    # The filters are constants; a file in half precision would only blur them.
    state = {name: value for name, value in state.items() if not re.fullmatch(FILTERS, name)}
    load_into(model, state, source=files.bigvgan.name, optional=[FILTERS])
    return model.eval().requires_grad_(requires_grad=False)
