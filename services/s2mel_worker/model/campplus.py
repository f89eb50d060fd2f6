"""CAM++: the speaker style vector from a filter bank (§4, "CAMPPlus network"). Official key names.

Letters: B batch, T frames, C channels, F frequency bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DILATIONS = (1, 2, 2)
SEGMENT_FRAMES = 100
"""Frames of one local context average."""


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a CAM++ network; the defaults are the published ones."""

    num_bins: int = 80
    head_channels: int = 32
    init_channels: int = 128
    growth: int = 32
    bn_size: int = 4
    """Bottleneck width of a dense layer, in units of `growth`."""
    block_layers: tuple[int, ...] = (12, 24, 16)
    embedding: int = 192


def dimensions_from_state(state: Mapping[str, Tensor]) -> Dimensions:
    """Read the sizes off the tensors of a checkpoint."""
    head = state["head.conv1.weight"].shape[0]
    init, flat, _ = state["xvector.tdnn.linear.weight"].shape
    growth = state["xvector.block1.tdnnd1.cam_layer.linear_local.weight"].shape[0]
    return Dimensions(
        num_bins=flat // head * 8,
        head_channels=head,
        init_channels=init,
        growth=growth,
        bn_size=state["xvector.block1.tdnnd1.linear1.weight"].shape[0] // growth,
        block_layers=tuple(_block_layers(state)),
        embedding=state["xvector.dense.linear.weight"].shape[0],
    )


def _block_layers(state: Mapping[str, Tensor]) -> Iterator[int]:
    for block in range(1, len(DILATIONS) + 1):
        layers = count(1)
        yield next(n for n in layers if f"xvector.block{block}.tdnnd{n}.linear1.weight" not in state) - 1


class BasicResBlock(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        # A stride thins out frequencies only.
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, F, T)
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class Head(nn.Module):
    """Filter bank as a picture; an eighth of the frequencies comes out, all frames stay."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(BasicResBlock(channels, 2), BasicResBlock(channels, 1))
        self.layer2 = nn.Sequential(BasicResBlock(channels, 2), BasicResBlock(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, F, T) -> (B, C * F / 8, T)
        y = F.relu(self.bn1(self.conv1(x[:, None])))
        y = self.layer2(self.layer1(y))
        return F.relu(self.bn2(self.conv2(y))).flatten(1, 2)


class Nonlinear(nn.Module):
    """Batch norm, then ReLU unless it is the plain last one; carries the published key prefix."""

    def __init__(self, channels: int, *, is_last: bool = False) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels, affine=not is_last)
        self.is_last = is_last

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.batchnorm(x)
        return y if self.is_last else F.relu(y)


class ContextMask(nn.Module):
    """A convolution whose channels are gated by the mean over time and over 100-frame segments."""

    def __init__(self, channels: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(channels, growth, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(channels, channels // 2, 1)
        self.linear2 = nn.Conv1d(channels // 2, growth, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, growth, T)
        # ceil_mode: the last segment averages only the frames it has.
        local = F.avg_pool1d(x, SEGMENT_FRAMES, SEGMENT_FRAMES, ceil_mode=True)
        local = local.repeat_interleave(SEGMENT_FRAMES, dim=2)[..., : x.shape[2]]
        context = x.mean(2, keepdim=True) + local
        gate = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        y: Tensor = self.linear_local(x) * gate
        return y


class DenseLayer(nn.Module):
    def __init__(self, channels: int, bottleneck: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = Nonlinear(channels)
        self.linear1 = nn.Conv1d(channels, bottleneck, 1, bias=False)
        self.nonlinear2 = Nonlinear(bottleneck)
        self.cam_layer = ContextMask(bottleneck, growth, dilation)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))
        return torch.cat((x, y), dim=1)


class DenseBlock(nn.Sequential):
    """Layers called tdnnd1, tdnnd2, ..., each adding `growth` channels."""

    def __init__(self, channels: int, num_layers: int, dilation: int, sizes: Dimensions) -> None:
        super().__init__()
        for n in range(num_layers):
            width = channels + n * sizes.growth
            layer = DenseLayer(width, sizes.bn_size * sizes.growth, sizes.growth, dilation)
            self.add_module(f"tdnnd{n + 1}", layer)


class Tdnn(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, channels, 5, stride=2, padding=2, bias=False)
        self.nonlinear = Nonlinear(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.nonlinear(self.linear(x))
        return y


class Transit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = Nonlinear(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(self.nonlinear(x))
        return y


class Dense(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, channels, 1, bias=False)
        self.nonlinear = Nonlinear(channels, is_last=True)

    def forward(self, x: Tensor) -> Tensor:  # (B, C)
        y: Tensor = self.nonlinear(self.linear(x[..., None]).squeeze(2))
        return y


class XVector(nn.Sequential):
    """Dense blocks with their transits, pooled over time to one vector."""

    def __init__(self, sizes: Dimensions) -> None:
        super().__init__()
        channels = sizes.init_channels
        self.add_module("tdnn", Tdnn(sizes.head_channels * sizes.num_bins // 8, channels))
        for n, (layers, dilation) in enumerate(zip(sizes.block_layers, DILATIONS, strict=True), start=1):
            self.add_module(f"block{n}", DenseBlock(channels, layers, dilation, sizes))
            channels += layers * sizes.growth
            self.add_module(f"transit{n}", Transit(channels))
            channels //= 2
        self.add_module("out_nonlinear", Nonlinear(channels))
        self.add_module("stats", StatisticsPool())
        self.add_module("dense", Dense(2 * channels, sizes.embedding))


class StatisticsPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:  # (B, C, T) -> (B, 2 C)
        return torch.cat((x.mean(2), x.std(2, unbiased=True)), dim=1)


class CamPlus(nn.Module):
    """The whole network. All items of a batch must have the same number of frames."""

    def __init__(self, dimensions: Dimensions | None = None) -> None:
        super().__init__()
        self.dimensions = dimensions or Dimensions()
        self.head = Head(self.dimensions.head_channels)
        self.xvector = XVector(self.dimensions)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Build with the sizes of `state`; loads nothing."""
        return cls(dimensions_from_state(state))

    def forward(self, bank: Tensor) -> Tensor:
        """Filter bank (B, T, F) with its mean over time removed to style (B, embedding), not normalised."""
        style: Tensor = self.xvector(self.head(bank.transpose(1, 2)))
        return style
