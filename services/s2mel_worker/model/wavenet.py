"""The WaveNet at the end of the flow estimator (§7.4, §7.5). Official key names.

Letters: B batch, C channels, T frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.s2mel_worker.model.lengths import frame_mask


class Conv(nn.Module):
    """A convolution behind the published key prefix `conv.conv`."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.ModuleDict({"conv": nn.Conv1d(in_channels, out_channels, kernel)})
        self.reach = kernel // 2

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, C, T) to (B, C', T); sees each item's mirror image beyond its ends."""
        if self.reach:
            padded = F.pad(x, (self.reach, self.reach), mode="reflect")
            if lengths is not None:
                rows = torch.arange(len(lengths), device=lengths.device)
                for d in range(self.reach):
                    padded[rows, :, self.reach + lengths + d] = x[rows, :, lengths - 2 - d]
            x = padded
        y: Tensor = self.conv["conv"](x)
        return y


class WaveNet(nn.Module):
    """Gated convolutions over all frames, told the time of the flow."""

    def __init__(self, channels: int, num_layers: int, kernel: int) -> None:
        super().__init__()
        self.channels = channels
        self.cond_layer = Conv(channels, 2 * channels * num_layers)
        self.in_layers = nn.ModuleList(Conv(channels, 2 * channels, kernel) for _ in range(num_layers))
        widths = [2 * channels] * (num_layers - 1) + [channels]
        self.res_skip_layers = nn.ModuleList(Conv(channels, width) for width in widths)

    def forward(self, x: Tensor, time: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, C, T) and time embedding (B, C) to (B, C, T); 0 behind an item's last frame."""
        gates = self.cond_layer(time[..., None]).chunk(len(self.in_layers), dim=1)
        out = torch.zeros_like(x)
        for in_layer, res_skip, gate in zip(self.in_layers, self.res_skip_layers, gates, strict=True):
            tanh, sigmoid = (in_layer(x, lengths) + gate).chunk(2, dim=1)
            both = res_skip(torch.tanh(tanh) * torch.sigmoid(sigmoid))
            if both.shape[1] > self.channels:
                x = x + both[:, : self.channels]
            out = out + both[:, -self.channels :]
        if lengths is not None:
            out = out.masked_fill(~frame_mask(lengths, out.shape[2])[:, None], 0)
        return out
