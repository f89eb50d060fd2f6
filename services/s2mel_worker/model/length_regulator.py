"""Length regulator: features per code to conditions per mel frame (§7.2). Official key names.

Which code a frame reads is decided by index maps, built outside: `whole_map` is the published one,
`streaming_map` gives a frame the same code in every window. Letters: B batch, N codes, T frames, C channels.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from services.common.checkpoint import LengthRegulatorConfig
from services.s2mel_worker.model.lengths import frame_mask
from services.s2mel_worker.model.windows import code_of_frame, frames_of

UNUSED = (r"embedding\.weight", "mask_token")
"""Tensors of the published file that serving does not need."""


def whole_map(num_codes: int, num_frames: int) -> Tensor:
    """Code that each of `num_frames` frames reads when `num_codes` codes are stretched over all of them.

    The quotient and the product are rounded to float32, as in the published nearest interpolation;
    exact arithmetic gives another table for 182 of the 1815 possible numbers of codes.
    """
    scale = np.float32(num_codes) / np.float32(num_frames)
    position = np.arange(num_frames, dtype=np.float32) * scale
    return torch.from_numpy(np.minimum(position.astype(np.int64), num_codes - 1))


def streaming_map(first_code: int, num_codes: int, duration_factor: float = 1.0) -> Tensor:
    """Code, counted from `first_code`, that each frame owned by `num_codes` codes of a segment reads.

    A frame on the border may belong to a code before; where that is not at hand the first one serves.
    """
    first_frame = frames_of(first_code, duration_factor)
    frames = np.arange(first_frame, frames_of(first_code + num_codes, duration_factor), dtype=np.int64)
    return torch.from_numpy(np.clip(code_of_frame(frames, duration_factor) - first_code, 0, num_codes - 1))


class LengthRegulator(nn.Module):
    """Stretches features by an index map and smooths them over time."""

    def __init__(self, in_channels: int, channels: int, num_layers: int = 4) -> None:
        super().__init__()
        self.content_in_proj = nn.Linear(in_channels, channels)
        layers: list[nn.Module] = []
        for _ in range(num_layers):
            layers += [nn.Conv1d(channels, channels, 3, padding=1), nn.GroupNorm(1, channels), nn.Mish()]
        self.model = nn.Sequential(*layers, nn.Conv1d(channels, channels, 1))

    @classmethod
    def from_config(cls, config: LengthRegulatorConfig) -> Self:
        return cls(config.in_channels, config.channels, len(config.sampling_ratios))

    def forward(self, features: Tensor, index: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Regulate a batch; every item equals its own run alone.

        Args:
            features: (B, N, in_channels).
            index: (B, T) code that each frame reads, within its own item's codes.
            lengths: (B,) frames of each item; all T when absent.

        Returns:
            (B, T, C), 0 behind an item's last frame.
        """
        x = self.content_in_proj(features)
        x = x.gather(1, index[..., None].expand(-1, -1, x.shape[2])).transpose(1, 2)
        if lengths is None:
            y: Tensor = self.model(x)
            return y.transpose(1, 2)
        mask = frame_mask(lengths, x.shape[2])[:, None]
        x = x.masked_fill(~mask, 0)
        for layer in self.model:
            x = _masked_group_norm(layer, x, mask) if isinstance(layer, nn.GroupNorm) else layer(x)
            # The next convolution reads one frame beyond the item.
            x = x.masked_fill(~mask, 0)
        out: Tensor = x.transpose(1, 2)
        return out


def _masked_group_norm(norm: nn.GroupNorm, x: Tensor, mask: Tensor) -> Tensor:
    """One group over all channels and each item's own frames; x must be 0 elsewhere."""
    count = mask.sum((1, 2), keepdim=True) * x.shape[1]
    mean = x.sum((1, 2), keepdim=True) / count
    centred = (x - mean).masked_fill(~mask, 0)
    variance = centred.square().sum((1, 2), keepdim=True) / count
    scaled = centred * torch.rsqrt(variance + norm.eps)
    return scaled * norm.weight[:, None] + norm.bias[:, None]
