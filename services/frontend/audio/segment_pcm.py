"""One segment's samples on their way out, with a soft end whenever it comes."""

from __future__ import annotations

import numpy as np

from services.frontend.audio.fade import faded
from services.frontend.audio.pcm import Samples


class SegmentPcm:
    """First in, first out, but for the last `fade_samples`: they wait until it is known what they are.

    If more follows, they go out as they are; if the segment ends or is cut there, they go out faded.
    """

    def __init__(self, fade_samples: int) -> None:
        self._fade_samples = fade_samples
        self._waiting: Samples = np.zeros(0, np.int16)
        self._has_ended = False

    def __len__(self) -> int:
        """Samples that have not gone out."""
        return len(self._waiting)

    @property
    def num_ready(self) -> int:
        """Samples that may go out now."""
        return len(self) if self._has_ended else max(len(self) - self._fade_samples, 0)

    def append(self, samples: Samples) -> None:
        self._waiting = np.concatenate([self._waiting, samples])

    def end(self) -> None:
        """Nothing follows: fade the last samples."""
        fading = min(self._fade_samples, len(self))
        kept = len(self) - fading
        self._waiting = np.concatenate([self._waiting[:kept], faded(self._waiting[kept:])])
        self._has_ended = True

    def cut(self) -> None:
        """End at once: what goes on where the last sample left off fades, and nothing is kept beyond."""
        self._waiting = faded(self._waiting[: self._fade_samples])
        self._has_ended = True

    def drop(self) -> None:
        """End without another sample."""
        self._waiting = self._waiting[:0]
        self._has_ended = True

    def take(self, max_samples: int) -> Samples:
        """Remove and return what may go out, at most so many samples."""
        size = min(self.num_ready, max_samples)
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        return taken
