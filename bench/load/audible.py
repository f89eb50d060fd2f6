"""Where speech becomes audible: before that a listener waits, however soon the first packet came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

THRESHOLD_DBFS = -40.0
"""RMS over a block; 0 dBFS is a constant full scale. Speech is some 20 dB above, the noise of a pause below."""
BLOCK_SECONDS = 0.01


def audible_from(samples: NDArray[np.float32], sample_rate_hz: int) -> float | None:
    """Return where the first block begins whose RMS is above the threshold, in seconds; None when there is none.

    Args:
        samples: [samples], full scale 1. A last block that is not whole is left out.
        sample_rate_hz: Their rate.
    """
    size = max(1, round(BLOCK_SECONDS * sample_rate_hz))
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.square(blocks, dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power > 10 ** (THRESHOLD_DBFS / 10))
    return int(loud[0]) * size / sample_rate_hz if len(loud) else None
