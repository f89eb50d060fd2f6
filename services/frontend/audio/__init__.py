"""Samples to the sound that a caller asked for: fade, resample, cut, encode. Knows nothing of utterances."""

from services.frontend.audio.format import (
    MAX_CHUNK_MS,
    MAX_SAMPLE_RATE_HZ,
    MIN_CHUNK_MS,
    MIN_SAMPLE_RATE_HZ,
    AudioFormat,
    Encoding,
    audio_format,
)

__all__ = [
    "MAX_CHUNK_MS",
    "MAX_SAMPLE_RATE_HZ",
    "MIN_CHUNK_MS",
    "MIN_SAMPLE_RATE_HZ",
    "AudioFormat",
    "Encoding",
    "audio_format",
]
