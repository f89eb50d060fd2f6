"""Recordings of a speaker: files, bytes and samples, on their way to the server."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import AudioError, ConfigError, ErrorDetails, IoError
from triptych.wav import float_wav

MAX_INLINE_BYTES = 30_000_000
"""Of a recording that comes with a request: more than any server takes, each of which says what it does take
(`Limits.max_inline_voice_bytes`)."""

_AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus"})


@dataclass(frozen=True)
class RecordingFile:
    """The bytes of a WAV, FLAC, MP3 or Ogg file, with what is said in it."""

    data: bytes = field(repr=False)
    transcript: str = field(default="", repr=False)


class Recording(RecordingFile):
    """Samples of a speaker, with what is said in them.

    Args:
        samples: Floats in [-1, 1], shaped [frames] or [frames, channels].
        sample_rate_hz: Of the samples.
        transcript: For models that want it.

    Raises:
        AudioError: if there are no samples, they are no floats of such a shape, or the rate is not a positive integer.
    """

    def __init__(self, samples: NDArray[np.floating[Any]], sample_rate_hz: int, transcript: str = "") -> None:
        array = np.asarray(samples)
        if not np.issubdtype(array.dtype, np.floating):
            raise _bad("FIELD_INVALID", f"samples are floats in [-1, 1], not {array.dtype}: int16 / 32768 is right")
        if array.ndim not in {1, 2}:
            raise _bad("FIELD_INVALID", f"samples have one axis (frames) or two (frames, channels), not {array.ndim}")
        if not array.size:
            raise _bad("RECORDING_EMPTY", "there are no samples")
        if not 0 < sample_rate_hz == int(sample_rate_hz):
            raise _bad("RECORDING_BAD_RATE", "a sample rate is a positive whole number of hertz")
        super().__init__(float_wav(array.astype(np.float32, copy=False), int(sample_rate_hz)), transcript)

    @classmethod
    def from_file(cls, path: str | PathLike[str], transcript: str = "") -> RecordingFile:
        """Read a WAV, FLAC, MP3 or Ogg file.

        Raises:
            IoError: if it cannot be read.
        """
        return RecordingFile(read(Path(path)), transcript)


RecordingLike = str | PathLike[str] | bytes | RecordingFile
"""The path or the bytes of a file, or a `Recording` of samples."""

VoiceLike = RecordingLike
"""The same, or the name or id of a voice: a string with a folder in it, or that names an existing audio file, is a
path."""


def is_name(voice: VoiceLike) -> bool:
    """Whether `voice` is the name or id of a voice that the server has."""
    if not isinstance(voice, str):
        return False
    path = Path(voice)
    is_path = "/" in voice or os.sep in voice or (path.suffix.lower() in _AUDIO_SUFFIXES and path.is_file())
    return not is_path


async def voice_source(voice: VoiceLike | None) -> str | RecordingFile | None:
    """Return what a request says of its voice: a name or id, a recording, or nothing.

    Raises:
        TypeError, IoError, AudioError: as `load` does, and if a recording is too large.
        ConfigError: if the name is empty.
    """
    if isinstance(voice, str):
        check_name(voice, field_path="config.voice")
    if isinstance(voice, str) and is_name(voice):
        return voice
    return None if voice is None else await _load_inline(voice)


def check_name(name: str, *, field_path: str) -> None:
    """Refuse a name that would mean the default voice, which is asked for by leaving the voice out.

    Raises:
        ConfigError: if it is empty.
    """
    if not name:
        message = "a voice is a name, an id or a recording, not an empty text; leave it out for the default voice"
        raise ConfigError(message, ErrorDetails(reason="FIELD_INVALID", field=field_path))


async def load(recording: RecordingLike) -> RecordingFile:
    """Return the bytes of a recording, whatever it is given as.

    Raises:
        TypeError: if it is nothing of the kind.
        IoError: if it is a file that cannot be read.
        AudioError: if there is nothing in it.
    """
    match recording:
        case RecordingFile():
            loaded = recording
        case bytes():
            loaded = RecordingFile(recording)
        case str() | PathLike():
            loaded = RecordingFile(await asyncio.to_thread(read, Path(recording)))
        case np.ndarray():
            raise TypeError("samples say nothing of their rate: wrap them in Recording(samples, sample_rate_hz)")
        case _:
            raise TypeError(f"a recording is a path, bytes or a Recording, not {type(recording).__name__}")
    if not loaded.data:
        raise _bad("RECORDING_EMPTY", "the recording is empty")
    return loaded


async def _load_inline(recording: RecordingLike) -> RecordingFile:
    """Return a recording that comes with a request.

    Raises:
        AudioError: if it is too large for that.
    """
    loaded = await load(recording)
    if len(loaded.data) > MAX_INLINE_BYTES:
        raise _bad(
            "RECORDING_TOO_LARGE",
            f"the recording has {len(loaded.data) / 1e6:.1f} MB; at most {MAX_INLINE_BYTES / 1e6:g} MB come with a "
            "request: register it with voices.create, or cut it to its first 15 s",
        )
    return loaded


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"cannot read the recording {path}: {error.strerror}"
        raise IoError(message, ErrorDetails(field="voice")) from None


def _bad(reason: str, message: str) -> AudioError:
    return AudioError(message, ErrorDetails(reason=reason, field="config.recording.audio"))
