"""Semantic codec: encoder and quantiser (§5). Official key names; the unused decoder is left out.

Letters: B batch, T code positions (50 per second), D feature width, V codebook vector width.
"""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.common.checkpoint import SemanticCodecConfig
from services.s2mel_worker.model.lengths import frame_mask

WEIGHT_NORMED = r"quantizer\.quantizers\.0\.(in|out)_project"
"""Layers that the published file stores with weight norm."""

UNUSED = (r"decoder\..*",)
"""Tensors of the published file that serving does not need."""


class ConvNextBlock(nn.Module):
    def __init__(self, width: int, inner: int, num_layers: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, inner)
        self.pwconv2 = nn.Linear(inner, width)
        self.gamma = nn.Parameter(torch.full((width,), 1 / num_layers))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T)
        y = self.norm(self.dwconv(x).transpose(1, 2))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        out: Tensor = x + y.transpose(1, 2)
        return out


class VocosBackbone(nn.Module):
    """(B, D, T) to (B, T, width)."""

    def __init__(self, in_width: int, width: int, inner: int, num_layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(in_width, width, 7, padding=3)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.convnext = nn.ModuleList(ConvNextBlock(width, inner, num_layers) for _ in range(num_layers))
        self.final_layer_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        # The convolutions of a single run see zeros behind the last frame; so must those of a padded one.
        outside = None if lengths is None else ~frame_mask(lengths, x.shape[2])[:, None]
        x = self.embed(_cleared(x, outside))
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        for block in self.convnext:
            x = block(_cleared(x, outside))
        y: Tensor = self.final_layer_norm(x.transpose(1, 2))
        return y


def _cleared(x: Tensor, outside: Tensor | None) -> Tensor:
    return x if outside is None else x.masked_fill(outside, 0)


class FactorisedQuantizer(nn.Module):
    """Nearest by angle in a small space; what is looked up is the codebook row as it is."""

    def __init__(self, width: int, size: int, code_width: int) -> None:
        super().__init__()
        self.in_project = nn.Conv1d(width, code_width, 1)
        self.out_project = nn.Conv1d(code_width, width, 1)
        self.codebook = nn.Embedding(size, code_width)

    def nearest(self, z: Tensor) -> Tensor:
        """Index of the codebook row at the smallest angle: (B, V, T) to (B, T)."""
        directions = F.normalize(z.transpose(1, 2), dim=-1, eps=1e-12)
        rows = F.normalize(self.codebook.weight, dim=-1, eps=1e-12)
        distance = directions.square().sum(-1, keepdim=True) - 2 * directions @ rows.T + rows.square().sum(-1)
        return distance.argmin(-1)

    def embed(self, codes: Tensor) -> Tensor:
        """Codes (B, T) to features (B, T, D)."""
        y: Tensor = self.out_project(self.codebook(codes).transpose(1, 2))
        return y.transpose(1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D, T) to codes (B, T) and quantised features (B, T, D), with straight-through gradients."""
        z = self.in_project(x)
        codes = self.nearest(z)
        rows = self.codebook(codes).transpose(1, 2)
        y: Tensor = self.out_project(z + (rows - z).detach())
        return codes, y.transpose(1, 2)


class ResidualQuantizer(nn.Module):
    """Carries the published key prefix; there is one quantiser."""

    def __init__(self, width: int, size: int, code_width: int) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList([FactorisedQuantizer(width, size, code_width)])


class SemanticCodec(nn.Module):
    """Encoder and quantiser; codes in, codes out."""

    def __init__(
        self, width: int, *, codebook_size: int, code_width: int, inner: int, ffn: int, num_layers: int
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(VocosBackbone(width, inner, ffn, num_layers), nn.Linear(inner, width))
        self.quantizer = ResidualQuantizer(width, codebook_size, code_width)

    @classmethod
    def from_config(cls, config: SemanticCodecConfig) -> Self:
        return cls(
            config.hidden_size,
            codebook_size=config.codebook_size,
            code_width=config.codebook_dim,
            inner=config.vocos_dim,
            ffn=config.vocos_intermediate_dim,
            num_layers=config.vocos_num_layers,
        )

    @property
    def table(self) -> FactorisedQuantizer:
        table = self.quantizer.quantizers[0]
        assert isinstance(table, FactorisedQuantizer)
        return table

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features (B, T, D) to (B, T, D) before quantising."""
        y: Tensor = self.encoder[1](self.encoder[0](x.transpose(1, 2), lengths))
        return y

    def quantize(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) to codes (B, T) and quantised features (B, T, D).

        Args:
            x: normalised semantic features.
            lengths: valid positions of each item (B,); all when absent.
        """
        codes, quantised = self.table(self.encode(x, lengths).transpose(1, 2))
        return codes, quantised

    def vq2emb(self, codes: Tensor) -> Tensor:
        """Codes (B, T) to features (B, T, D)."""
        return self.table.embed(codes)
