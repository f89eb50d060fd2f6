"""The end of a segment: its last few milliseconds go to silence, so that no speech ends in a click."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from services.frontend.audio.pcm import Samples

FADE_MS = 5


def fade_samples(sample_rate_hz: int) -> int:
    return sample_rate_hz * FADE_MS // 1000


def faded(samples: Samples) -> Samples:
    """All of the samples on their way to silence: the last one is 0."""
    return np.rint(samples * _gains(len(samples))).astype(np.int16)


@lru_cache(maxsize=64)
def _gains(num_samples: int) -> npt.NDArray[np.float64]:
    """A raised cosine from just below 1 to 0: its slope is 0 at both ends."""
    phase = np.arange(1, num_samples + 1) / max(num_samples, 1)
    return 0.5 * (1.0 + np.cos(np.pi * phase))
