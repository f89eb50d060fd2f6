"""How much memory the vocoder takes on a GPU, from its sizes alone: an estimate, on the large side."""

from __future__ import annotations

import json
from dataclasses import dataclass

from services.common.checkpoint import CheckpointConfig, CheckpointFiles
from services.common.indextts2 import longest_window
from services.common.stage.slots import Demand
from services.vocoder_worker.model.calls import CAPACITY
from services.vocoder_worker.model.provider import GPU_BATCH

_FLOAT_BYTES = 4

_LIVE_TENSORS = 12
"""Tensors of a stage that live at a time: input, both phases of its doubling, the sum of the blocks, one block's own
and what a convolution takes as working space."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes, of a window's frames each."""

    weight_bytes: int
    bytes_per_frame: int
    """While the window is computed: the widest stage's channels times its samples per frame, 12 times."""
    bound_bytes_per_frame: int
    """In the buffers that are kept for a shape: mel and samples."""


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
    return Footprint(
        weight_bytes=scale * files.vocoder_onnx.stat().st_size,
        bytes_per_frame=widest * _FLOAT_BYTES * _LIVE_TENSORS,
        bound_bytes_per_frame=(sizes["num_mels"] + rate) * _FLOAT_BYTES,
    )


def longest_call(config: CheckpointConfig) -> int:
    """Frames of the longest window of all streaming policies, its context included; whole renders are longer.

    A segment's last window takes in the codes that would have been its look-ahead.
    """
    return longest_window(
        config,
        num_codes=lambda policy: policy.max_window_codes + policy.look_ahead_codes,
        num_frames=lambda policy: policy.vocoder_context_frames + policy.vocoder_look_ahead_frames,
    )


def demand(files: CheckpointFiles, config: CheckpointConfig, *, max_batch_size: int) -> Demand:
    """What the process takes; a call computes as many windows as share a step, and leaves buffers of its shape."""
    costs, frames = footprint(files), longest_call(config)

    def of(slots: int) -> dict[str, int]:
        windows = min(slots, max_batch_size, GPU_BATCH)
        return {
            "weights": costs.weight_bytes,
            "steps": windows * frames * costs.bytes_per_frame,
            "buffers": CAPACITY * windows * frames * costs.bound_bytes_per_frame,
        }

    return of
