"""One utterance's samples from the model's rate to the caller's."""

from __future__ import annotations

import numpy as np
import soxr

from services.frontend.audio.pcm import Floats

QUALITY = "HQ"
"""20 bits. VHQ would hold back twice as much audio at low rates for an error far below 16 bits."""


def position_at(index: int, from_hz: int, to_hz: int) -> int:
    """Where a sample's index lands at another rate: rounded, half up, so monotone."""
    return (2 * index * to_hz + from_hz) // (2 * from_hz)


class Resampler:
    """Stateful: a speech that comes in pieces gives what it gives in one, sample for sample.

    Its filter needs to see what follows: 40 ms of audio (80 ms from 22 kHz down to 8 kHz) are held back until
    more comes or `finish`. Equal rates pass everything through at once and unchanged.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._from_hz = from_hz
        self._to_hz = to_hz
        self._num_in = 0
        self._num_out = 0
        self._stream = (
            soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality=QUALITY) if from_hz != to_hz else None
        )

    def push(self, samples: Floats) -> Floats:
        """Take in samples; return those that are certain now."""
        self._num_in += len(samples)
        if self._stream is None:
            return samples
        return self._counted(self._stream.resample_chunk(samples))

    def finish(self) -> Floats:
        """Return the rest: all together there are as many samples as `position_at` of the end says."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        missing = position_at(self._num_in, self._from_hz, self._to_hz) - self._num_out
        # The library's own count may differ by one where the length is no whole number; the end is silent.
        return self._counted(np.concatenate([rest[:missing], np.zeros(max(missing - len(rest), 0), np.float32)]))

    def _counted(self, samples: Floats) -> Floats:
        self._num_out += len(samples)
        return samples
