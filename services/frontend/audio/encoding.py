"""Samples to the bytes that a caller asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from services.frontend.audio import g711, wav
from services.frontend.audio.format import AudioFormat, Encoding
from services.frontend.audio.pcm import Floats, to_samples

MAX_AUDIO_BYTES = 64_000
"""Of one message, whatever is rendered at once; the message's other fields stay far below the rest of 64 KiB."""

BYTES_PER_SAMPLE: Final = {
    Encoding.LINEAR16: 2,
    Encoding.FLOAT32: 4,
    Encoding.MULAW: 1,
    Encoding.ALAW: 1,
    Encoding.WAV: 2,
}


def max_samples(encoding: Encoding) -> int:
    """Most samples of one message."""
    return MAX_AUDIO_BYTES // BYTES_PER_SAMPLE[encoding]


def encode(samples: Floats, encoding: Encoding) -> bytes:
    """Encode samples in [-1, 1]; what is above is clipped. A WAV's header is `header`."""
    return _ENCODE[encoding](samples)


def header(audio: AudioFormat, num_samples: int | None = None) -> bytes:
    """What comes before the first sample; empty for encodings without a header.

    Args:
        audio: The utterance's.
        num_samples: Length of the whole speech; None where it is not known yet.
    """
    return wav.header(audio.sample_rate_hz, num_samples) if audio.encoding is Encoding.WAV else b""


def _linear16(samples: Floats) -> bytes:
    return to_samples(samples).astype("<i2").tobytes()


def _float32(samples: Floats) -> bytes:
    return np.clip(samples, -1.0, 1.0).astype("<f4").tobytes()


def _mulaw(samples: Floats) -> bytes:
    return g711.mulaw(to_samples(samples)).tobytes()


def _alaw(samples: Floats) -> bytes:
    return g711.alaw(to_samples(samples)).tobytes()


_ENCODE: Final[dict[Encoding, Callable[[Floats], bytes]]] = {
    Encoding.LINEAR16: _linear16,
    Encoding.FLOAT32: _float32,
    Encoding.MULAW: _mulaw,
    Encoding.ALAW: _alaw,
    Encoding.WAV: _linear16,
}
