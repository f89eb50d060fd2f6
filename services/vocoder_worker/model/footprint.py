"""How much memory the vocoder takes on a GPU, from its sizes alone: an estimate, on the large side."""

from __future__ import annotations

import json
from dataclasses import dataclass

from services.common.checkpoint import CheckpointConfig, CheckpointFiles
from services.common.indextts2 import slowest_frames, streaming_policies
from services.common.stage.policy import Policy
from services.common.stage.slots import Demand
from services.vocoder_worker.model.calls import CAPACITY
from services.vocoder_worker.model.provider import GPU_BATCH
from services.vocoder_worker.model.stream import INNER_LOOK_AHEAD, LONGEST_PIECE

_FLOAT_BYTES = 4

_LIVE_TENSORS = 12
"""Tensors of a stage that live at a time: input, both phases of its doubling, the sum of the blocks, one block's own
and what a convolution takes as working space."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes; those per frame are of a piece of a window with its context."""

    weight_bytes: int
    bytes_per_frame: int
    """While the piece is computed: the widest stage's channels times its samples per frame, 12 times."""
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
    """Frames of the longest piece of all streaming policies, its context included; whole renders are longer."""
    return max(
        policy.vocoder_context_frames + _longest_piece(policy) + max(policy.vocoder_look_ahead_frames, INNER_LOOK_AHEAD)
        for policy in streaming_policies(config)
    )


def demand(files: CheckpointFiles, config: CheckpointConfig, *, max_batch_size: int) -> Demand:
    """What the process takes; a call computes as many pieces as share a step, and leaves buffers of its shape."""
    costs, frames = footprint(files), longest_call(config)

    def of(slots: int) -> dict[str, int]:
        pieces = min(slots, max_batch_size, GPU_BATCH)
        return {
            "weights": costs.weight_bytes,
            "steps": pieces * frames * costs.bytes_per_frame,
            "buffers": CAPACITY * pieces * frames * costs.bound_bytes_per_frame,
        }

    return of


def _longest_piece(policy: Policy) -> int:
    """A segment's last window takes in the codes that would have been its look-ahead."""
    return min(LONGEST_PIECE, slowest_frames(policy.max_window_codes + policy.look_ahead_codes))
