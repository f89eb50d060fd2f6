"""Streaming a vocoder: which frames are settled, what a window must see, and how samples become PCM.

A sample depends on a limited number of mel frames to both sides. With that context around it, a window's
samples are those of the whole. To go on elsewhere takes the next frame and the context frames before it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

PCM_PEAK = np.float32(32767)


class Vocoder(Protocol):
    """Mel (T, bins) to waveform (hop_length * T,) in [-1, 1]."""

    @property
    def hop_length(self) -> int: ...

    def __call__(self, mel: NDArray[np.float32]) -> NDArray[np.float32]: ...


def settled_stop(num_frames: int, has_ended: bool, context: int) -> int:
    """Frame up to which samples can be made for good, of `num_frames` mel frames known so far."""
    return num_frames if has_ended else max(0, num_frames - context)


def context_start(next_frame: int, context: int) -> int:
    """First mel frame that is still needed when `next_frame` is the next to be made sound."""
    return max(0, next_frame - context)


def vocode(vocoder: Vocoder, mel: NDArray[np.float32], first: int, stop: int) -> NDArray[np.int16]:
    """Samples of the frames `first` to `stop` of mel (T, bins); the others are context.

    Where `first` or `stop` is not a true end of the segment, `mel` must reach the policy's context beyond.

    Returns:
        int16 ((stop - first) * hop_length,).
    """
    if not 0 <= first <= stop <= len(mel):
        raise ValueError(f"frames {first} to {stop} are not within {len(mel)}")
    hop = vocoder.hop_length
    return to_pcm(vocoder(mel)[first * hop : stop * hop])


def to_pcm(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    """Waveform in [-1, 1] to int16, truncated toward zero and never rounded (§8.3)."""
    clamped: NDArray[np.float32] = np.clip(PCM_PEAK * wave, -PCM_PEAK, PCM_PEAK)
    return clamped.astype(np.int16)
