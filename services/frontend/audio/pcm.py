"""Between the 16-bit samples of a model and the floats that everything after it works on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
"""Samples in [-1, 1)."""
Samples = npt.NDArray[np.int16]

FULL_SCALE = 32768


def to_floats(samples: Samples) -> Floats:
    """Scale 16-bit samples to [-1, 1); exact."""
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def to_samples(floats: Floats) -> Samples:
    """Round to 16 bits; what a filter lifted over full scale is clipped. The inverse of `to_floats`."""
    scaled = np.rint(floats * np.float32(FULL_SCALE))
    samples: Samples = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return samples
