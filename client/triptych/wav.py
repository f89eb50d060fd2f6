"""WAV files: 16-bit ones that grow, and float ones that carry a recording to the server."""

from __future__ import annotations

import struct
import wave
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from triptych.encodings import Samples, pcm16

_FORMAT_FLOAT = 3


class WavWriter:
    """Writes a 16-bit WAV file whose header is right after every write.

    The file is made by the first write, so that a call that fails leaves an older file alone.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._file: BinaryIO | None = None
        self._wave: wave.Wave_write | None = None

    def write(self, samples: Samples, sample_rate_hz: int) -> None:
        """Append samples in [-1, 1]; what is beyond is clipped."""
        if self._wave is None:
            self._file = self.path.open("wb")
            self._wave = wave.open(self._file, "wb")  # noqa: SIM115 - closed by close()
            self._wave.setnchannels(1)
            self._wave.setsampwidth(2)
            self._wave.setframerate(sample_rate_hz)
        self._wave.writeframes(pcm16(samples))
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        opened, self._file = self._file, None
        if opened is not None:
            with opened:
                self._close_wave()

    def _close_wave(self) -> None:
        if self._wave is not None:
            self._wave.close()
            self._wave = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def float_wav(samples: Samples, sample_rate_hz: int) -> bytes:
    """Return a WAV file of 32-bit floats.

    Args:
        samples: [frames] or [frames, channels].
        sample_rate_hz: Of each channel.
    """
    channels = samples.shape[1] if samples.ndim == 2 else 1
    data = samples.astype("<f4", copy=False).tobytes()
    frame_bytes = 4 * channels
    layout = (_FORMAT_FLOAT, channels, sample_rate_hz, sample_rate_hz * frame_bytes, frame_bytes, 32, 0)
    # A format other than PCM needs the empty extension (the last 0 of the layout) and the count of frames.
    body = b"WAVEfmt " + struct.pack("<IHHIIHHH", 18, *layout)
    body += struct.pack("<4sII", b"fact", 4, len(data) // frame_bytes)
    body += struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body
