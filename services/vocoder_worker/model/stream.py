"""Streaming a vocoder: which frames are settled, what a window must see, and how samples become PCM.

A sample depends on a limited number of mel frames to both sides. With that context around it, a window's
samples are those of the whole; with less to the right they come earlier and differ, by how much is measured in
`docs/decisions/0013-vocoder-and-memory.md`. To go on elsewhere takes the next frame and the context before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

PCM_PEAK = np.float32(32767)

LONGEST_PIECE = 96
"""Frames that one step makes sound, at most: what another utterance's urgent window waits for a long one."""

INNER_LOOK_AHEAD = 16
"""Frames behind a piece that is not its window's last, if the policy asks for no more: they are there anyway, and with
them the embedded vocoder's samples are those of the whole."""


class Vocoder(Protocol):
    """Mels (B, T, bins) to waveforms (B, hop_length * T) in [-1, 1]."""

    @property
    def hop_length(self) -> int: ...

    @property
    def batch_limit(self) -> int:
        """The most windows of one length that one call should share."""

    def __call__(self, mels: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Window:
    """Frames `first` to `stop` of a mel (T, bins) are to become sound; the others are context.

    Where `first` or `stop` is not a true end of the segment, `mel` must reach the policy's context beyond.
    """

    mel: NDArray[np.float32]
    first: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.stop <= len(self.mel):
            raise ValueError(f"frames {self.first} to {self.stop} are not within {len(self.mel)}")

    @property
    def is_empty(self) -> bool:
        return self.first == self.stop


def settled_stop(num_frames: int, has_ended: bool, look_ahead: int) -> int:
    """Frame up to which samples can be made for good, of `num_frames` mel frames known so far."""
    return num_frames if has_ended else max(0, num_frames - look_ahead)


def context_start(next_frame: int, context: int) -> int:
    """First mel frame that is still needed when `next_frame` is the next to be made sound."""
    return max(0, next_frame - context)


def piece_stop(first: int, stop: int) -> int:
    """Where the next piece of the frames `first` to `stop` ends.

    Pieces are of nearly one length, never a long one and a rest; what is left is cut the same way again, so that a
    stream that begins at any piece goes on with the same ones.
    """
    num_pieces = max(1, math.ceil((stop - first) / LONGEST_PIECE))
    return first + math.ceil((stop - first) / num_pieces)


def vocode(vocoder: Vocoder, windows: Sequence[Window]) -> list[NDArray[np.int16]]:
    """Samples ((stop - first) * hop_length,) of each window.

    Windows of one length share calls. Padding to a common length would change the samples at their ends, since
    the network repeats the last sample of each layer there.
    """
    pcm = [np.zeros(0, np.int16) for _ in windows]
    for group in equal_lengths(windows, vocoder.batch_limit):
        waves = vocoder(np.stack([windows[index].mel for index in group]))
        for index, wave in zip(group, waves, strict=True):
            window = windows[index]
            pcm[index] = to_pcm(wave[window.first * vocoder.hop_length : window.stop * vocoder.hop_length])
    return pcm


def equal_lengths(windows: Sequence[Window], limit: int) -> list[list[int]]:
    """Indices of the windows that are not empty, in groups of one length with at most `limit` members."""
    groups: dict[int, list[int]] = {}
    for index, window in enumerate(windows):
        if not window.is_empty:
            groups.setdefault(len(window.mel), []).append(index)
    return [group[at : at + limit] for group in groups.values() for at in range(0, len(group), limit)]


def to_pcm(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    """Waveform in [-1, 1] to int16, truncated toward zero and never rounded (§8.3)."""
    clamped: NDArray[np.float32] = np.clip(PCM_PEAK * wave, -PCM_PEAK, PCM_PEAK)
    return clamped.astype(np.int16)
