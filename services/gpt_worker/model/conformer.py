"""Conformer encoder of the conditioners (§6.1): pre-norm, one feed-forward, absolute positions.

Letters: B batch, T input frames, S frames after subsampling, W width, H heads. Nothing is masked:
the published code passes a length that no prompt reaches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ConformerDimensions:
    input_width: int
    width: int
    linear_units: int
    heads: int
    blocks: int
    kernel: int = 15
    """Taps of the depthwise convolution."""


def position_table(length: int, width: int, device: torch.device) -> Tensor:
    """Sine in even and cosine in odd columns, (length, width)."""
    steps = torch.arange(length, dtype=torch.float32, device=device)[:, None]
    pairs = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    angles = steps * torch.exp(pairs * -(math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class Subsampling(nn.Module):
    """Halves the frame rate with one strided convolution over time and feature width."""

    def __init__(self, input_width: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, width, 3, stride=2), nn.ReLU())
        self.out = nn.Sequential(nn.Linear(width * ((input_width - 1) // 2), width))
        self.scale = math.sqrt(width)

    def forward(self, frames: Tensor) -> Tensor:  # (B, T, input_width) -> (B, (T - 1) // 2, W)
        maps: Tensor = self.conv(frames[:, None])  # (B, W, S, input_width')
        columns: Tensor = self.out(maps.transpose(1, 2).flatten(2))
        return columns * self.scale


class RelativeAttention(nn.Module):
    """Self-attention with a content and a position term, without the relative shift."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, width // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:  # (B, S, W), (1, S, W) -> (B, S, W)
        query = self.linear_q(x).view(*x.shape[:2], self.heads, -1)  # (B, S, H, d)
        key, value = self._split(self.linear_k(x)), self._split(self.linear_v(x))  # (B, H, S, d)
        position = self._split(self.linear_pos(positions))  # (1, H, S, d)
        by_content = (query + self.pos_bias_u).transpose(1, 2) @ key.mT
        by_position = (query + self.pos_bias_v).transpose(1, 2) @ position.mT
        weights = ((by_content + by_position) / math.sqrt(key.shape[-1])).softmax(dim=-1)
        mixed: Tensor = self.linear_out((weights @ value).transpose(1, 2).flatten(2))
        return mixed

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class ConvolutionModule(nn.Module):
    """Gated pointwise, depthwise over time, LayerNorm, SiLU, pointwise."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, padding=(kernel - 1) // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, S, W) -> (B, S, W)
        y = self.depthwise_conv(F.glu(self.pointwise_conv1(x.mT), dim=1))
        z: Tensor = self.pointwise_conv2(F.silu(self.norm(y.mT)).mT)
        return z.mT


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, inner)
        self.w_2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.w_2(F.silu(self.w_1(x)))
        return y


class ConformerBlock(nn.Module):
    def __init__(self, dimensions: ConformerDimensions) -> None:
        super().__init__()
        width = dimensions.width
        self.self_attn = RelativeAttention(width, dimensions.heads)
        self.conv_module = ConvolutionModule(width, dimensions.kernel)
        self.feed_forward = FeedForward(width, dimensions.linear_units)
        self.norm_mha = nn.LayerNorm(width)
        self.norm_conv = nn.LayerNorm(width)
        self.norm_ff = nn.LayerNorm(width)
        self.norm_final = nn.LayerNorm(width)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        x = x + self.self_attn(self.norm_mha(x), positions)
        x = x + self.conv_module(self.norm_conv(x))
        x = x + self.feed_forward(self.norm_ff(x))
        y: Tensor = self.norm_final(x)
        return y


class Conformer(nn.Module):
    def __init__(self, dimensions: ConformerDimensions) -> None:
        super().__init__()
        self.embed = Subsampling(dimensions.input_width, dimensions.width)
        self.encoders = nn.ModuleList(ConformerBlock(dimensions) for _ in range(dimensions.blocks))
        self.after_norm = nn.LayerNorm(dimensions.width)

    def forward(self, frames: Tensor) -> Tensor:  # (B, T, input_width) -> (B, (T - 1) // 2, W)
        x: Tensor = self.embed(frames)
        positions = position_table(x.shape[1], x.shape[2], x.device).to(x.dtype)[None]
        for block in self.encoders:
            x = block(x, positions)
        y: Tensor = self.after_norm(x)
        return y
