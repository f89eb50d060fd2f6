"""The header of a WAV file of one channel of 16-bit PCM."""

from __future__ import annotations

import struct

UNKNOWN_LENGTH = 0xFFFFFFFF
HEADER_BYTES = 44

_PCM = 1
_CHANNELS = 1
_BYTES_PER_SAMPLE = 2


def header(sample_rate_hz: int, num_samples: int | None = None) -> bytes:
    """The 44 bytes before the samples; lengths are 0xFFFFFFFF, read as "to the end", when not known yet."""
    data_bytes = riff_bytes = UNKNOWN_LENGTH
    if num_samples is not None:
        data_bytes = num_samples * _BYTES_PER_SAMPLE
        riff_bytes = HEADER_BYTES - 8 + data_bytes
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        riff_bytes,
        b"WAVE",
        b"fmt ",
        16,
        _PCM,
        _CHANNELS,
        sample_rate_hz,
        sample_rate_hz * _BYTES_PER_SAMPLE,
        _BYTES_PER_SAMPLE,
        8 * _BYTES_PER_SAMPLE,
        b"data",
        data_bytes,
    )
