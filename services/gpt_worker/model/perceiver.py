"""Perceiver resampler (§6.1): any number of frames to a fixed number of latents.

Letters: B batch, S context frames, N latents, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class PerceiverDimensions:
    context_width: int
    width: int
    heads: int
    feed_forward: int
    """Width between the two linear layers, after the gate."""
    latents: int
    depth: int = 2
    head_width: int = 64


class GatedGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        # The exact form; the tanh approximation differs by 1e-3 and passes the golden packs.
        return F.gelu(gate, approximate="none") * value


class LatentAttention(nn.Module):
    """Latents attend to themselves and to the context."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_width
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, latents: Tensor, context: Tensor) -> Tensor:  # (B, N, D), (B, S, D) -> (B, N, D)
        key, value = self.to_kv(torch.cat([latents, context], dim=1)).chunk(2, dim=-1)
        heads = [x.view(*x.shape[:2], self.heads, -1).transpose(1, 2) for x in (self.to_q(latents), key, value)]
        mixed = F.scaled_dot_product_attention(*heads)
        y: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return y


class RootMeanSquareNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.scale = width**0.5

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.normalize(x, dim=-1) * self.scale * self.gamma
        return y


class Perceiver(nn.Module):
    def __init__(self, dimensions: PerceiverDimensions) -> None:
        super().__init__()
        width, inner = dimensions.width, dimensions.feed_forward
        self.latents = nn.Parameter(torch.empty(dimensions.latents, width))
        nn.init.normal_(self.latents, std=0.02)
        self.proj_context = nn.Linear(dimensions.context_width, width)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    LatentAttention(width, dimensions.heads, dimensions.head_width),
                    nn.Sequential(nn.Linear(width, 2 * inner), GatedGelu(), nn.Linear(inner, width)),
                ]
            )
            for _ in range(dimensions.depth)
        )
        self.norm = RootMeanSquareNorm(width)

    def forward(self, context: Tensor) -> Tensor:  # (B, S, context_width) -> (B, N, D)
        context = self.proj_context(context)
        latents = self.latents.expand(context.shape[0], -1, -1)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            attend, feed_forward = layer
            latents = attend(latents, context) + latents
            latents = feed_forward(latents) + latents
        y: Tensor = self.norm(latents)
        return y
