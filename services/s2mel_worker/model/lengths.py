"""Masks of padded batches; lengths are counted in frames of the last axis."""

from __future__ import annotations

import torch
from torch import Tensor


def frame_mask(lengths: Tensor, num_frames: int) -> Tensor:
    """True where a frame belongs to its item: (B,) lengths to (B, num_frames)."""
    return torch.arange(num_frames, device=lengths.device)[None] < lengths[:, None]
