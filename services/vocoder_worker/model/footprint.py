"""How much memory the vocoder takes on a GPU, from its sizes alone: an estimate, on the large side."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from services.common.checkpoint import CheckpointConfig, CheckpointFiles

_FLOAT_BYTES = 4

_LIVE_TENSORS = 12
"""Tensors of a stage that live at a time: input, both phases of its doubling, the sum of the blocks, one block's own
and what a convolution takes as working space."""

_CODE_FRAMES = 1.72


@dataclass(frozen=True, slots=True)
class Footprint:
    weight_bytes: int
    bytes_per_frame: int
    """Of one window, while it is computed."""


def footprint(files: CheckpointFiles) -> Footprint:
    """Weights are taken as float32, however the file stores them."""
    sizes = json.loads(files.bigvgan_config.read_text("utf-8"))
    channels, rate = sizes["upsample_initial_channel"], 1
    widest = channels
    for up in sizes["upsample_rates"]:
        channels, rate = channels // 2, rate * up
        widest = max(widest, channels * rate)
    stored = json.loads(files.vocoder_manifest.read_text("utf-8"))["weights"]
    scale = 2 if stored == "float16" else 1
    return Footprint(scale * files.vocoder_onnx.stat().st_size, widest * _FLOAT_BYTES * _LIVE_TENSORS)


def longest_window(config: CheckpointConfig) -> int:
    """Frames of the longest window of all streaming policies, its context included; whole renders are longer."""
    return max(
        math.ceil(policy.max_window_codes * _CODE_FRAMES)
        + policy.vocoder_context_frames
        + policy.vocoder_look_ahead_frames
        for policy in config.triptych.policies.values()
    )
