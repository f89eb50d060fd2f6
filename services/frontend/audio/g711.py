"""ITU-T G.711: 16-bit samples to 8 bits, as a table of the standard's formula."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.int16]

_MULAW_BIAS = 33
_MULAW_MAX = 8158
"""Largest 14-bit magnitude; with the bias it fills the last segment."""


def mulaw(samples: Samples) -> Bytes:
    """Encode with the mu-law (G.711 table 2a)."""
    return _MULAW[samples.view(np.uint16)]


def alaw(samples: Samples) -> Bytes:
    """Encode with the A-law (G.711 table 1a)."""
    return _ALAW[samples.view(np.uint16)]


def _all_samples() -> npt.NDArray[np.int32]:
    """Every 16-bit sample, at the index of its bits."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)


def _log2(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The index of each value's highest bit; values are above 0."""
    return (np.frexp(values)[1] - 1).astype(np.int32)


def _mulaw_table() -> Bytes:
    samples = _all_samples()
    biased = np.minimum(np.abs(samples) >> 2, _MULAW_MAX) + _MULAW_BIAS
    segment = _log2(biased) - 5
    code = (segment << 4) | ((biased >> (segment + 1)) & 0x0F)
    # All bits are sent inverted, so that silence has many ones.
    table: Bytes = np.where(samples < 0, 0x7F ^ code, 0xFF ^ code).astype(np.uint8)
    return table


def _alaw_table() -> Bytes:
    samples = _all_samples()
    magnitude = np.minimum(np.abs(samples) >> 4, 0x7FF)
    # The first two segments have the same step: together they are linear.
    segment = np.maximum(_log2(np.maximum(magnitude, 1)) - 3, 1)
    code = np.where(magnitude < 32, magnitude, (segment << 4) | ((magnitude >> (segment - 1)) & 0x0F))
    # Even bits are sent inverted.
    table: Bytes = (np.where(samples < 0, code, 0x80 | code) ^ 0x55).astype(np.uint8)
    return table


_MULAW: Final = _mulaw_table()
_ALAW: Final = _alaw_table()
