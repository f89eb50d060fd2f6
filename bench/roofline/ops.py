"""Products, convolutions and attention of every stage, counted from a checkpoint's sizes.

FLOPs are two per multiply-add; elements count every operand once, so that a kernel which keeps nothing on the chip
is what is priced. What stands between these ops (norms, activations) is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from bench.stages.workload import Sizes, Workload

_CONDITIONING_ROWS = 34


@dataclass(frozen=True)
class Op:
    """One product, convolution or attention."""

    flops: float
    elements: float
    """Weights, inputs and outputs."""


def linear(rows: float, inner: int, outer: int) -> Op:
    return Op(2 * rows * inner * outer, inner * outer + rows * (inner + outer))


def convolution(items: int, length: float, inner: int, outer: int, kernel: int, *, groups: int = 1) -> Op:
    """`length` counts outputs, or inputs of a transposed one."""
    weights = inner * outer * kernel / groups
    return Op(2 * items * length * weights, weights + items * length * (inner + outer))


def attention(items: int, queries: int, keys: int, width: int) -> Op:
    return Op(4 * items * queries * keys * width, 2 * items * (queries + keys) * width)


def gpt_positions(sizes: Sizes, rows: int, positions: int, past: int, *, scored: int) -> list[Op]:
    """`positions` new positions of each of `rows` segments behind `past` old ones, `scored` of them scored."""
    gpt = sizes.config.gpt
    width, count = gpt.model_dim, rows * positions
    layer = [
        linear(count, width, 3 * width),
        attention(rows, positions, past + positions, width),
        linear(count, width, width),
        linear(count, width, 4 * width),
        linear(count, 4 * width, width),
    ]
    return layer * gpt.layers + [linear(rows * scored, width, gpt.number_mel_codes)]


def prefill(sizes: Sizes, load: Workload) -> list[Op]:
    """Conditioning, text with its two marks, start."""
    return gpt_positions(sizes, 1, prefix_length(load), 0, scored=1)


def prefix_length(load: Workload) -> int:
    return _CONDITIONING_ROWS + load.text_ids + 3


def decode_step(sizes: Sizes, load: Workload, rows: int = 1) -> list[Op]:
    """One code of each row, in the middle of the utterance."""
    return gpt_positions(sizes, rows, 1, prefix_length(load) + load.codes // 2, scored=1)


def condition(sizes: Sizes, num_codes: int, num_frames: int) -> list[Op]:
    """Codes and latents to a condition for every frame."""
    regulator, codec = sizes.config.s2mel.length_regulator, sizes.config.semantic_codec
    channels, widths = regulator.channels, (sizes.config.gpt.model_dim, 256, 128, regulator.in_channels)
    return [
        *(linear(num_codes, inner, outer) for inner, outer in pairwise(widths)),
        linear(num_codes, codec.codebook_dim, codec.hidden_size),
        linear(num_codes, regulator.in_channels, channels),
        *[convolution(1, num_frames, channels, channels, 3)] * len(regulator.sampling_ratios),
        linear(num_frames, channels, channels),
    ]


def euler_step(sizes: Sizes, frames: int, items: int = 2) -> list[Op]:
    """The velocity of `items` sequences, two for each utterance with guidance."""
    s2mel = sizes.config.s2mel
    width, bins, rows = s2mel.DiT.hidden_dim, s2mel.DiT.in_channels, items * frames
    depth, content, inner = s2mel.DiT.depth, s2mel.DiT.content_dim, -(-int(8 * width / 3) // 256) * 256
    block = [
        linear(items, width, 2 * width),
        linear(rows, width, 3 * width),
        attention(items, frames, frames, width),
        linear(rows, width, width),
        linear(items, width, 2 * width),
        *[linear(rows, width, inner)] * 2,
        linear(rows, inner, width),
    ]
    return [
        *[linear(items, 256, width), linear(items, width, width)] * 2,
        linear(rows, content, width),
        linear(rows, 2 * bins + width + s2mel.style_encoder.dim, width),
        *block * depth,
        *[linear(rows, 2 * width, width)] * (depth // 2),
        linear(items, width, 2 * width),
        linear(rows, width + bins, width),
        linear(rows, width, width),
        *_wavenet(sizes, frames, items),
        linear(rows, width, width),
        linear(items, width, 2 * width),
        linear(rows, width, width),
        linear(rows, width, bins),
    ]


def _wavenet(sizes: Sizes, frames: int, items: int) -> list[Op]:
    wavenet = sizes.config.s2mel.wavenet
    width, layers = wavenet.hidden_dim, wavenet.num_layers
    return [
        linear(items, width, 2 * width * layers),
        *[convolution(items, frames, width, 2 * width, wavenet.kernel_size)] * layers,
        *[linear(items * frames, width, 2 * width)] * (layers - 1),
        linear(items * frames, width, width),
    ]


def vocoder(sizes: Sizes, frames: int, items: int = 1) -> list[Op]:
    config = sizes.bigvgan
    channels, length = int(config["upsample_initial_channel"]), frames
    ops = [convolution(items, length, int(config["num_mels"]), channels, 7)]
    for rate, kernel in zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True):
        ops.append(convolution(items, length, channels, channels // 2, kernel))
        channels, length = channels // 2, length * rate
        for block, dilations in zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True):
            one = [*_activation(items, length, channels), convolution(items, length, channels, channels, block)]
            ops += one * (2 * len(dilations))
    return [*ops, *_activation(items, length, channels), convolution(items, length, channels, 1, 7)]


def _activation(items: int, length: int, channels: int) -> list[Op]:
    """Two phases up and two down, six taps each."""
    return [convolution(items, length, channels, channels, 6, groups=channels)] * 4
