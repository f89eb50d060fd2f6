"""The semantic codec as it is trained: RepCodec topology and key names, with straight-through quantising."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.mini import dims

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.nn.utils import weight_norm as deprecated_weight_norm


def weight_norm(module: nn.Module) -> nn.Module:
    """Old-style weight norm, because the published key names are weight_g and weight_v."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return deprecated_weight_norm(module)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width: int, inner: int, num_layers: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, inner)
        self.pwconv2 = nn.Linear(inner, width)
        self.gamma = nn.Parameter(torch.full((width,), 1.0 / num_layers))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).transpose(1, 2))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        out: Tensor = x + y.transpose(1, 2)
        return out


class VocosBackbone(nn.Module):
    """(B, C, T) -> (B, T, width)."""

    def __init__(self, in_width: int, width: int, inner: int, num_layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(in_width, width, 7, padding=3)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.convnext = nn.ModuleList([ConvNeXtBlock(width, inner, num_layers) for _ in range(num_layers)])
        self.final_layer_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(x).transpose(1, 2)).transpose(1, 2)
        for block in self.convnext:
            x = block(x)
        out: Tensor = self.final_layer_norm(x.transpose(1, 2))
        return out


class FactorisedQuantizer(nn.Module):
    """Nearest by cosine in a small space; the row itself is what is looked up."""

    def __init__(self, width: int, size: int, code_width: int) -> None:
        super().__init__()
        self.in_project = weight_norm(nn.Conv1d(width, code_width, 1))
        self.out_project = weight_norm(nn.Conv1d(code_width, width, 1))
        self.codebook = nn.Embedding(size, code_width)

    def nearest(self, z: Tensor) -> Tensor:
        directions = F.normalize(z.transpose(1, 2), dim=-1)
        return (directions @ F.normalize(self.codebook.weight, dim=-1).T).argmax(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, width, T) -> quantised, codes (B, T), commitment loss, z (B, code_width, T)."""
        z = self.in_project(x)
        codes = self.nearest(z)
        rows = self.codebook(codes).transpose(1, 2)
        loss = 0.15 * F.mse_loss(z, rows.detach()) + F.mse_loss(rows, z.detach())
        return self.out_project(z + (rows - z).detach()), codes, loss, z


class ResidualQuantizer(nn.Module):
    """Only carries the published key prefix; there is one quantiser."""

    def __init__(self, width: int, size: int, code_width: int) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList([FactorisedQuantizer(width, size, code_width)])


class TrainableCodec(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = dims.ENCODER_WIDTH
        backbone = (dims.VOCOS_WIDTH, dims.VOCOS_FFN, dims.VOCOS_LAYERS)
        self.encoder = nn.Sequential(VocosBackbone(width, *backbone), nn.Linear(dims.VOCOS_WIDTH, width))
        self.decoder = nn.Sequential(VocosBackbone(width, *backbone), nn.Linear(dims.VOCOS_WIDTH, width))
        self.quantizer = ResidualQuantizer(width, dims.CODEBOOK_SIZE, dims.CODEBOOK_WIDTH)

    @property
    def table(self) -> FactorisedQuantizer:
        table = self.quantizer.quantizers[0]
        assert isinstance(table, FactorisedQuantizer)
        return table

    def encode(self, x: Tensor) -> Tensor:
        """(B, T, width) features -> (B, width, T) before quantising."""
        out: Tensor = self.encoder(x.transpose(1, 2)).transpose(1, 2)
        return out

    def quantize(self, x: Tensor) -> Tensor:
        """(B, T, width) -> codes (B, T)."""
        return self.table.nearest(self.table.in_project(self.encode(x)))

    def embed(self, codes: Tensor) -> Tensor:
        """(B, T) -> (B, T, width), the official vq2emb."""
        out: Tensor = self.table.out_project(self.table.codebook(codes).transpose(1, 2)).transpose(1, 2)
        return out
