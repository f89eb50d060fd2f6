"""Files that grow: whole after every write, and after one that fails."""

from __future__ import annotations

import errno
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from triptych.commands import sound_file
from triptych.commands.sound_file import OutputError, SoundFile
from triptych.encodings import SampleDecoder

RATE = 8000
ENCODINGS = {"linear16": "PCM_16", "wav": "PCM_16", "float32": "FLOAT", "mulaw": "ULAW", "alaw": "ALAW"}
STREAM_HEADER = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0\x80>\0\0\2\0\x10\0data\xff\xff\xff\xff"


def audio(encoding: str, first: int = 0, count: int = 100) -> bytes:
    samples = np.sin(np.arange(first, first + count) / 10) / 2
    match encoding:
        case "float32":
            return samples.astype("<f4").tobytes()
        case "mulaw" | "alaw":
            return bytes(np.arange(first, first + count).astype(np.uint8))
        case _:
            return (samples * 32767).astype("<i2").tobytes()


@pytest.mark.parametrize(("encoding", "subtype"), ENCODINGS.items())
def test_other_programs_read_every_encoding(encoding: str, subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    file = SoundFile(path)
    data = audio(encoding, 0, 101) + audio(encoding, 101, 52)
    file.write((STREAM_HEADER if encoding == "wav" else b"") + audio(encoding, 0, 101), encoding, RATE)
    file.write(audio(encoding, 101, 52), encoding, RATE)
    # Not closed: what there is, is whole.
    info = soundfile.info(str(path))

    assert (info.subtype, info.samplerate, info.channels, info.frames) == (subtype, RATE, 1, 153)
    samples, _ = soundfile.read(path, dtype="float32")
    expected = SampleDecoder("linear16" if encoding == "wav" else encoding).decode(data)
    assert np.abs(samples - expected).max() < 1e-6
    assert int.from_bytes(path.read_bytes()[4:8], "little") == path.stat().st_size - 8
    file.close()
    assert soundfile.info(str(path)).frames == 153


def test_raw_files_hold_the_bytes_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    file = SoundFile(path)
    file.write(STREAM_HEADER + audio("wav"), "wav", RATE)
    file.write(b"\1\2\3", "wav", RATE)
    file.close()

    assert path.read_bytes() == STREAM_HEADER + audio("wav") + b"\1\2\3"


def test_no_file_is_made_before_there_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    SoundFile(path).close()
    assert path.read_bytes() == b"old"


@given(pieces=st.lists(st.binary(max_size=9), max_size=6))
def test_odd_lengths_are_padded_and_not_counted(pieces: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("odd") / "a.wav"
    file = SoundFile(path)
    for piece in (b"\0", *pieces):
        file.write(piece, "mulaw", RATE)
        content = path.read_bytes()
        assert len(content) % 2 == 0
        assert int.from_bytes(content[4:8], "little") == len(content) - 8
    file.close()

    data = b"\0" + b"".join(pieces)
    assert path.read_bytes()[58 : 58 + len(data)] == data
    assert soundfile.info(str(path)).frames == len(data)


class _FullDisk(FileIO):
    """Takes so many bytes beyond the first that were ever written, and then no more."""

    room = 0

    def write(self, data: Any, /) -> int:
        end = self.seek(0, 1) + len(data)
        beyond = max(0, end - self.room)
        if beyond >= len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(data)[: len(data) - beyond])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("spare", range(4))
def test_a_full_disk_leaves_a_whole_file(
    encoding: str, spare: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_file, "FileIO", _FullDisk)
    monkeypatch.setattr(_FullDisk, "room", 500 + spare)
    path = tmp_path / "a.wav"
    file = SoundFile(path)

    def fill() -> None:
        for index in range(100):
            header = STREAM_HEADER if encoding == "wav" and not index else b""
            file.write(header + audio(encoding, 20 * index, 20), encoding, RATE)

    with pytest.raises(OutputError, match=r"a.wav: No space left on device; the 0.0\d s before are kept"):
        fill()
    file.close()

    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    decoder = SampleDecoder("linear16" if encoding == "wav" else encoding)
    assert np.abs(samples - decoder.decode(audio(encoding, 0, len(samples)))).max() < 1e-6
    width = len(audio(encoding, 0, 1))
    assert 500 - 58 - width < len(samples) * width, "all that had room is there"


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="a.wav: No such file or directory; nothing is kept"):
        SoundFile(tmp_path / "gone" / "a.wav").write(b"\0\0", "linear16", RATE)
