"""The flow's velocity estimator: a transformer over frames with a WaveNet behind it (§7.4).

Official key names, below `estimator.`; unused tensors are left out. Every item of a padded batch
equals its own run alone to float32 rounding (§7.5). Letters: B batch, T frames, M mel bins, C width,
H heads, D head width.
"""

from __future__ import annotations

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.common.checkpoint import S2MelConfig
from services.s2mel_worker.model.lengths import frame_mask
from services.s2mel_worker.model.wavenet import WaveNet

TIME_FREQUENCIES = 128
TIME_SCALE = 1000
ROPE_BASE = 10000

WEIGHT_NORMED = r"(.*\.)?(final_layer\.linear|wavenet\..*\.conv\.conv)"
"""Layers that the published file stores with weight norm."""

UNUSED = (
    r"(x_embedder|cond_embedder|content_mask_embedder)\..*",
    r"input_pos",
    # Computed here, so that a file in half precision does not shift the flow's clock.
    r"t_embedder2?\.freqs",
)
"""Tensors of the published file that serving does not need."""


class TimeEmbedding(nn.Module):
    """Sines and cosines of the flow's time through two linear layers: (B,) to (B, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * TIME_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        steps = torch.arange(TIME_FREQUENCIES, device=time.device, dtype=torch.float32)
        frequencies = torch.exp(-math.log(10000) * steps / TIME_FREQUENCIES)
        angles = TIME_SCALE * time[:, None].float() * frequencies
        y: Tensor = self.mlp(torch.cat((angles.cos(), angles.sin()), dim=1))
        return y


class Scale(nn.Module):
    """Holds the norm's own weight under its published name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class AdaptiveNorm(nn.Module):
    """RMS norm whose scale and offset come from the time embedding; the scale is not 1 + s."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project_layer = nn.Linear(width, 2 * width)
        self.norm = Scale(width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # (B, T, C), (B, C)
        scale, offset = self.project_layer(time)[:, None].chunk(2, dim=-1)
        y = F.rms_norm(x.float(), x.shape[-1:], self.norm.weight, eps=1e-5)
        out: Tensor = scale * y + offset
        return out


class Attention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.wqkv = nn.Linear(width, 3 * width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, rope: Tensor, mask: Tensor | None) -> Tensor:
        b, t, c = x.shape
        q, k, v = self.wqkv(x).view(b, t, 3, self.num_heads, c // self.num_heads).unbind(2)
        q, k = rotate(q, rope), rotate(k, rope)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.wo(y.transpose(1, 2).reshape(b, t, c))
        return out


class FeedForward(nn.Module):
    """SwiGLU; the inner width is 8/3 of the outer one, rounded up to a multiple of 256."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = -(-int(8 * width / 3) // 256) * 256
        self.w1 = nn.Linear(width, inner, bias=False)
        self.w3 = nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return y


class Block(nn.Module):
    """Attention and feed-forward; a late block first takes in the output of its early partner."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, num_heads)
        self.feed_forward = FeedForward(width)
        self.attention_norm = AdaptiveNorm(width)
        self.ffn_norm = AdaptiveNorm(width)
        # The published file has it in every block; only the late ones use it.
        self.skip_in_linear = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, time: Tensor, rope: Tensor, mask: Tensor | None, skip: Tensor | None) -> Tensor:
        if skip is not None:
            x = self.skip_in_linear(torch.cat((x, skip), dim=-1))
        x = x + self.attention(self.attention_norm(x, time), rope, mask)
        y: Tensor = x + self.feed_forward(self.ffn_norm(x, time))
        return y


class Transformer(nn.Module):
    """Blocks of which the first half passes its outputs to the second, last in first out."""

    def __init__(self, width: int, num_heads: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(width, num_heads) for _ in range(depth))
        self.norm = AdaptiveNorm(width)
        self.head_width = width // num_heads

    def forward(self, x: Tensor, time: Tensor, mask: Tensor | None) -> Tensor:
        rope = rope_table(x.shape[1], self.head_width, x.device)
        half, skips = len(self.layers) // 2, list[Tensor]()
        for n, layer in enumerate(self.layers):
            is_late = n >= len(self.layers) - half
            x = layer(x, time, rope, mask, skips.pop() if is_late else None)
            if n < half:
                skips.append(x)
        y: Tensor = self.norm(x, time)
        return y


class FinalLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(time)[:, None].chunk(2, dim=-1)
        y = F.layer_norm(x, x.shape[-1:], eps=1e-6)
        out: Tensor = self.linear(y * (1 + scale) + shift)
        return out


class DiT(nn.Module):
    """Velocity of the flow at one point, for each item of a batch."""

    def __init__(
        self,
        width: int,
        *,
        num_heads: int,
        depth: int,
        wavenet_layers: int,
        wavenet_kernel: int = 5,
        content_width: int,
        num_bins: int = 80,
        style_width: int = 192,
    ) -> None:
        super().__init__()
        self.t_embedder = TimeEmbedding(width)
        self.t_embedder2 = TimeEmbedding(width)
        self.cond_projection = nn.Linear(content_width, width)
        self.cond_x_merge_linear = nn.Linear(2 * num_bins + width + style_width, width)
        self.transformer = Transformer(width, num_heads, depth)
        self.skip_linear = nn.Linear(width + num_bins, width)
        self.conv1 = nn.Linear(width, width)
        self.wavenet = WaveNet(width, wavenet_layers, wavenet_kernel)
        self.res_projection = nn.Linear(width, width)
        self.final_layer = FinalLayer(width)
        self.conv2 = nn.Conv1d(width, num_bins, 1)

    @classmethod
    def from_config(cls, config: S2MelConfig) -> Self:
        """Build with the sizes of a checkpoint.

        Raises:
            ValueError: where WaveNet and transformer differ in width: the final layer takes both.
        """
        if config.wavenet.hidden_dim != config.DiT.hidden_dim:
            raise ValueError(
                f"wavenet.hidden_dim {config.wavenet.hidden_dim} must equal DiT.hidden_dim {config.DiT.hidden_dim}"
            )
        return cls(
            config.DiT.hidden_dim,
            num_heads=config.DiT.num_heads,
            depth=config.DiT.depth,
            wavenet_layers=config.wavenet.num_layers,
            wavenet_kernel=config.wavenet.kernel_size,
            content_width=config.DiT.content_dim,
            num_bins=config.DiT.in_channels,
            style_width=config.style_encoder.dim,
        )

    def forward(
        self, x: Tensor, prompt: Tensor, lengths: Tensor | None, time: Tensor, style: Tensor, mu: Tensor
    ) -> Tensor:
        """Estimate the velocity.

        Args:
            x: (B, M, T) point of the flow.
            prompt: (B, M, T) known mel in an item's first frames, 0 behind them.
            lengths: (B,) frames of each item, at least 3; all T when absent.
            time: (B,) in [0, 1].
            style: (B, style_width).
            mu: (B, T, content_width) condition of each frame.

        Returns:
            (B, M, T); what stands behind an item's last frame means nothing.
        """
        mask = None
        if lengths is not None:
            mask = frame_mask(lengths, x.shape[2])
            outside = ~mask[:, None]
            # A stray infinity in the padding would come through a masked softmax as 0 * inf.
            x, prompt = x.masked_fill(outside, 0), prompt.masked_fill(outside, 0)
            mu = mu.masked_fill(outside.transpose(1, 2), 0)
            mask = mask[:, None, None]  # (B, 1, 1, T): keys
        early, late = self.t_embedder(time), self.t_embedder2(time)
        frames = x.transpose(1, 2)  # (B, T, M)
        styles = style[:, None].expand(-1, x.shape[2], -1)
        parts = (frames, prompt.transpose(1, 2), self.cond_projection(mu), styles)
        hidden = self.transformer(self.cond_x_merge_linear(torch.cat(parts, dim=-1)), early, mask)
        hidden = self.skip_linear(torch.cat((hidden, frames), dim=-1))
        smooth = self.wavenet(self.conv1(hidden).transpose(1, 2), late, lengths)
        out = self.final_layer(smooth.transpose(1, 2) + self.res_projection(hidden), early)
        velocity: Tensor = self.conv2(out.transpose(1, 2))
        return velocity


def rope_table(num_frames: int, head_width: int, device: torch.device) -> Tensor:
    """Cosine and sine of every position and pair, (2, T, 1, D / 2)."""
    pairs = torch.arange(0, head_width, 2, device=device, dtype=torch.float32)
    frequencies = 1 / ROPE_BASE ** (pairs / head_width)
    angles = torch.outer(torch.arange(num_frames, device=device, dtype=torch.float32), frequencies)
    return torch.stack((angles.cos(), angles.sin()))[:, :, None]


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Turn each pair of neighbours (2i, 2i + 1) of x (B, T, H, D) by its position's angle."""
    cosine, sine = rope.to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(3)
