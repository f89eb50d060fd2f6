"""Random values of the scale that a tensor's name asks for, so that activations stay finite at full size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

BIGVGAN: dict[str, Any] = {
    "resblock": "1",
    "upsample_rates": [4, 4, 2, 2, 2, 2],
    "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
    "upsample_initial_channel": 1536,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "use_tanh_at_final": False,
    "use_bias_at_final": False,
    "activation": "snakebeta",
    "snake_logscale": True,
    "num_mels": 80,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 22050,
    "fmin": 0,
    "fmax": None,
}
"""The published vocoder's config.json."""


def tensor(name: str, shape: Sequence[int], dtype: str, generator: torch.Generator) -> Tensor:
    """Random values of a scale that suits what the name says the tensor is for."""
    if dtype == "int64":
        return torch.arange(math.prod(shape)).view(*shape) if shape else torch.tensor(0)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "filter":
        return low_pass(shape[-1]).view(*shape)
    if leaf == "freqs":
        return torch.exp(-math.log(10000.0) * torch.arange(shape[0]) / shape[0])
    mean, spread = _mean_and_spread(name, leaf, shape)
    return torch.randn(*shape, generator=generator).mul_(spread).add_(mean)


def _mean_and_spread(name: str, leaf: str, shape: Sequence[int]) -> tuple[float, float]:
    if leaf in ("running_var", "var", "gamma") or (leaf == "weight" and len(shape) == 1):
        return 1.0, 0.02
    if leaf == "weight_g":
        return 0.5, 0.02
    if len(shape) < 2 or leaf in ("pos_bias_u", "pos_bias_v"):
        return 0.0, 0.02
    if "embedding" in name or leaf == "latents":
        return 0.0, 0.05
    return 0.0, 0.5 / math.sqrt(_fan_in(name, shape))


def _fan_in(name: str, shape: Sequence[int]) -> int:
    """Inputs per output; the GPT's own linear layers store (in, out)."""
    is_in_out = name.startswith("gpt.h.") and len(shape) == 2
    return shape[0] if is_in_out else math.prod(shape[1:])


def low_pass(taps: int) -> Tensor:
    """Half-band windowed sinc with unit gain."""
    time = (torch.arange(taps) - (taps - 1) / 2) / 2
    kernel = torch.sinc(time) * torch.hann_window(taps + 2, periodic=False)[1:-1]
    return kernel / kernel.sum()
