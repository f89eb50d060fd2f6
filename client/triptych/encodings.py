"""From the bytes of an `AudioEncoding` to float32 samples."""

from __future__ import annotations

import struct
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from triptych.errors import DecodeError

Encoding = Literal["linear16", "float32", "mulaw", "alaw", "wav"]

Samples = NDArray[np.float32]
"""One channel in [-1, 1]."""

_BYTES_PER_SAMPLE = {"linear16": 2, "float32": 4, "mulaw": 1, "alaw": 1, "wav": 2}


class SampleDecoder:
    """Decodes the pieces of one stream, in order."""

    def __init__(self, encoding: str) -> None:
        if encoding not in _BYTES_PER_SAMPLE:
            raise DecodeError(f"the server sends audio as {encoding}, which this version does not read")
        self.encoding = encoding
        self._is_header_due = encoding == "wav"

    def decode(self, data: bytes) -> Samples:
        """Return the samples of the next piece.

        Raises:
            DecodeError: if the bytes are no audio of this encoding.
        """
        if self._is_header_due and data:
            data = without_wav_header(data)
            self._is_header_due = False
        width = _BYTES_PER_SAMPLE[self.encoding]
        if len(data) % width:
            raise DecodeError(f"{len(data)} bytes are no whole number of {self.encoding} samples")
        match self.encoding:
            case "float32":
                return np.frombuffer(data, "<f4").astype(np.float32, copy=False)
            case "mulaw":
                return _MULAW[np.frombuffer(data, np.uint8)]
            case "alaw":
                return _ALAW[np.frombuffer(data, np.uint8)]
            case _:
                return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def pcm16(samples: Samples) -> bytes:
    """Return samples as little-endian 16-bit PCM; those of LINEAR16 come back bit for bit."""
    steps = np.clip(np.rint(samples.astype(np.float64) * 32768), -32768, 32767)
    return steps.astype("<i2").tobytes()


def without_wav_header(data: bytes) -> bytes:
    """Return what follows the header of the `data` chunk, whatever length it claims.

    Raises:
        DecodeError: if `data` does not begin with a whole WAV header.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise DecodeError("the audio does not begin with a WAV header")
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        position += 8
        if name == b"data":
            return data[position:]
        position += size + size % 2
    raise DecodeError("the WAV header ends before its data")


def _mulaw_table() -> Samples:
    """G.711 μ-law: sign, exponent and mantissa of the inverted byte, with a bias of 132."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = ((mantissa * 8 + 132) << exponent) - 132
    return _signed(magnitude, is_negative=(code & 128) != 0)


def _alaw_table() -> Samples:
    """G.711 A-law: like μ-law, with every other bit inverted and a first exponent that is linear."""
    code = np.arange(256, dtype=np.uint8) ^ np.uint8(0x55)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = np.where(exponent == 0, mantissa * 16 + 8, (mantissa * 16 + 264) << np.maximum(exponent - 1, 0))
    return _signed(magnitude, is_negative=(code & 128) == 0)


def _signed(magnitude: NDArray[np.int32], *, is_negative: NDArray[np.bool_]) -> Samples:
    return (np.where(is_negative, -magnitude, magnitude) / 32768).astype(np.float32)


_MULAW = _mulaw_table()
_ALAW = _alaw_table()
