"""A file that grows with a speech: WAV in any encoding that the server sends, or its bytes as they come."""

from __future__ import annotations

import struct
from contextlib import suppress
from io import FileIO
from pathlib import Path

from triptych.encodings import without_wav_header

WAV_SUFFIX = ".wav"
RAW_SUFFIX = ".raw"

_PCM, _FLOAT, _ALAW, _MULAW = 1, 3, 6, 7
_FORMATS = {
    "linear16": (_PCM, 16),
    "wav": (_PCM, 16),
    "float32": (_FLOAT, 32),
    "mulaw": (_MULAW, 8),
    "alaw": (_ALAW, 8),
}
"""Tag of the format and bits of a sample, for each encoding."""
_LARGEST_LENGTH = 0xFFFFFFFF


class OutputError(Exception):
    """Nothing more can be written; the text says where, why, and what is kept."""


class SoundFile:
    """One channel of sound in a file whose header is right after every write, also after one that fails.

    The file is made by the first write, so that a call that fails leaves an older file alone.

    Args:
        path: A WAV file; with the suffix ``.raw`` the bytes of the encoding alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_raw = path.suffix.lower() == RAW_SUFFIX
        self._file: FileIO | None = None
        self._encoding = ""
        self._sample_rate_hz = 0
        self._start = 0
        self._data_bytes = 0

    def write(self, data: bytes, encoding: str, sample_rate_hz: int) -> None:
        """Append the bytes of some samples; encoding and rate are those of the first ones.

        Raises:
            OutputError: if the disk is full, or something else is wrong with the file.
        """
        try:
            if self._file is None:
                self._open(encoding, sample_rate_hz)
                if encoding == "wav" and not self._is_raw:
                    data = without_wav_header(data)
            self._append(data)
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}; {self._kept()}") from None

    def close(self) -> None:
        opened, self._file = self._file, None
        if opened is not None:
            opened.close()

    def _open(self, encoding: str, sample_rate_hz: int) -> None:
        # Without a buffer it is known how much of a write has come to the disk.
        self._file = FileIO(self.path, "wb")
        self._encoding, self._sample_rate_hz = encoding, sample_rate_hz
        if not self._is_raw:
            header = self._header()
            self._start = len(header)
            self._file.write(header)

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        self._file.seek(self._start + self._data_bytes)
        rest = memoryview(data)
        try:
            while rest:
                written = self._file.write(rest)
                self._data_bytes += written
                rest = rest[written:]
        finally:
            if not self._is_raw:
                self._mend()

    def _mend(self) -> None:
        """Let the header say how many whole samples there are, and none be beyond."""
        assert self._file is not None
        excess = self._data_bytes % (_FORMATS[self._encoding][1] // 8)
        if excess:
            self._data_bytes -= excess
            self._file.truncate(self._start + self._data_bytes)
        self._file.seek(0)
        self._file.write(self._header())
        if self._data_bytes % 2:
            # A chunk of odd length is followed by a byte that does not count; the next sample takes its place.
            self._file.seek(self._start + self._data_bytes)
            with suppress(OSError):
                self._file.write(b"\0")

    def _header(self) -> bytes:
        tag, bits = _FORMATS[self._encoding]
        width = bits // 8
        layout = struct.pack("<HHIIHH", tag, 1, self._sample_rate_hz, self._sample_rate_hz * width, width, bits)
        chunks = struct.pack("<4sI", b"fmt ", len(layout)) + layout
        if tag != _PCM:
            # Every other format has an extension, here an empty one, and the count of its samples.
            chunks = struct.pack("<4sI", b"fmt ", len(layout) + 2) + layout + struct.pack("<H", 0)
            chunks += struct.pack("<4sII", b"fact", 4, min(self._data_bytes // width, _LARGEST_LENGTH))
        chunks += struct.pack("<4sI", b"data", min(self._data_bytes, _LARGEST_LENGTH))
        length = len(b"WAVE") + len(chunks) + self._data_bytes + self._data_bytes % 2
        return struct.pack("<4sI4s", b"RIFF", min(length, _LARGEST_LENGTH), b"WAVE") + chunks

    def _kept(self) -> str:
        if not self._data_bytes:
            return "nothing is kept"
        seconds = self._data_bytes / (self._sample_rate_hz * _FORMATS[self._encoding][1] // 8)
        return f"the {seconds:.2f} s before are kept"
