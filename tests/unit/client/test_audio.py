"""Encodings, WAV files and recordings."""

from __future__ import annotations

import io
import struct
import warnings
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import triptych
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from triptych import Recording, WavWriter
from triptych.encodings import SampleDecoder, pcm16, without_wav_header
from triptych.recording import is_name
from triptych.reply import ChunkReader

from protos.tts.v1 import synthesis_pb2


@given(arrays.arrays(np.int16, st.integers(0, 300)))
def test_linear16_comes_back_bit_for_bit(steps: NDArray[np.int16]) -> None:
    data = steps.astype("<i2").tobytes()
    samples = SampleDecoder("linear16").decode(data)

    assert samples.dtype == np.float32
    assert abs(samples).max(initial=0) <= 1
    assert pcm16(samples) == data


def test_pcm_beyond_full_scale_is_clipped() -> None:
    assert pcm16(np.array([-2, -1, 1, 2], np.float32)) == struct.pack("<4h", -32768, -32768, 32767, 32767)


def test_float32_is_taken_as_it_is() -> None:
    expected = np.array([0.25, -1, 1], np.float32)
    assert np.array_equal(SampleDecoder("float32").decode(expected.astype("<f4").tobytes()), expected)


@pytest.mark.parametrize(
    ("encoding", "code", "step"),
    [
        ("mulaw", 0xFF, 0),
        ("mulaw", 0x7F, 0),
        ("mulaw", 0x80, 32124),
        ("mulaw", 0x00, -32124),
        ("mulaw", 0xF0, 120),
        ("alaw", 0xD5, 8),
        ("alaw", 0x55, -8),
        ("alaw", 0xAA, 32256),
        ("alaw", 0x2A, -32256),
        ("alaw", 0xC5, 264),
    ],
)
def test_telephone_codes_are_those_of_g711(encoding: str, code: int, step: int) -> None:
    (sample,) = SampleDecoder(encoding).decode(bytes([code]))
    assert sample * 32768 == step


@pytest.mark.parametrize(("encoding", "name"), [("mulaw", "ulaw2lin"), ("alaw", "alaw2lin")])
def test_all_telephone_codes_agree_with_another_decoder(encoding: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop: Any = pytest.importorskip("audioop")
    codes = bytes(range(256))
    expected = np.frombuffer(getattr(audioop, name)(codes, 2), "<i2")
    assert np.array_equal(SampleDecoder(encoding).decode(codes) * 32768, expected)


def _wav(data: bytes, *, size: int, extra: bytes = b"") -> bytes:
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + extra
    return b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + body + b"data" + struct.pack("<I", size) + data


@pytest.mark.parametrize("extra", [b"", b"LIST" + struct.pack("<I", 3) + b"abc\0"])
def test_a_streamed_wav_has_its_header_once(extra: bytes) -> None:
    first, second = struct.pack("<2h", 1, 2), struct.pack("<2h", 3, 4)
    decoder = SampleDecoder("wav")

    assert (decoder.decode(_wav(first, size=0xFFFFFFFF, extra=extra)) * 32768).tolist() == [1, 2]
    assert (decoder.decode(second) * 32768).tolist() == [3, 4]


@given(st.binary(max_size=80))
def test_what_is_no_wav_is_refused_or_cut(data: bytes) -> None:
    for tail in (data, b"RIFF\0\0\0\0WAVE" + data):
        try:
            assert tail.endswith(without_wav_header(tail))
        except triptych.DecodeError:
            continue


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("linear16", b"abc", "3 bytes are no whole number of linear16 samples"),
        ("float32", b"abc", "3 bytes are no whole number of float32 samples"),
        ("wav", b"abc", "does not begin with a WAV header"),
        ("wav", b"RIFF____WAVEfmt ", "ends before its data"),
    ],
)
def test_audio_that_is_none_is_refused(encoding: str, data: bytes, message: str) -> None:
    with pytest.raises(triptych.DecodeError, match=message):
        SampleDecoder(encoding).decode(data)


def test_an_encoding_of_a_later_server_is_refused() -> None:
    chunk = synthesis_pb2.AudioChunk(audio=b"x", utterance=synthesis_pb2.UtteranceInfo(encoding=99))  # type: ignore[arg-type]
    with pytest.raises(triptych.DecodeError, match="99"):
        ChunkReader().read(chunk)


def test_the_first_chunk_says_the_encoding_of_all() -> None:
    reader = ChunkReader()
    info = synthesis_pb2.UtteranceInfo(encoding=synthesis_pb2.AUDIO_ENCODING_MULAW)
    assert not reader.has_audio
    first = reader.read(synthesis_pb2.AudioChunk(audio=b"\xff", utterance=info, sample_rate_hz=8000))
    second = reader.read(synthesis_pb2.AudioChunk(audio=b"\x80\x00", start_sample=1, sample_rate_hz=8000))

    assert reader.has_audio
    assert (len(first.samples), len(second.samples), second.data) == (1, 2, b"\x80\x00")
    assert (second.start_ms, second.end_ms) == (0.125, 0.375)


def test_a_wav_file_is_right_after_every_write(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with WavWriter(path) as writer:
        assert not path.exists()
        for count in (1, 2):
            writer.write(np.full(100, 0.5, np.float32), 24000)
            with wave.open(str(path)) as file:
                assert (file.getnframes(), file.getframerate()) == (100 * count, 24000)


@pytest.mark.parametrize("shape", [(500,), (500, 2)])
def test_samples_become_a_file_that_others_read(shape: tuple[int, ...]) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    recording = Recording(samples, 44100, transcript="so I said")

    read, rate = soundfile.read(io.BytesIO(recording.data), dtype="float32")
    assert np.array_equal(read, samples)
    assert rate == 44100
    assert soundfile.info(io.BytesIO(recording.data)).subtype == "FLOAT"
    assert recording.transcript == "so I said"
    assert repr(recording) == "Recording()", "neither audio nor text gets into a log by accident"


@pytest.mark.parametrize(
    ("samples", "rate", "reason"),
    [
        (np.zeros(5, np.int16), 16000, "FIELD_INVALID"),
        (np.zeros((5, 1, 1)), 16000, "FIELD_INVALID"),
        (np.zeros(0), 16000, "RECORDING_EMPTY"),
        (np.zeros(5), 0, "RECORDING_BAD_RATE"),
        (np.zeros(5), -1, "RECORDING_BAD_RATE"),
        (np.zeros(5), 0.5, "RECORDING_BAD_RATE"),
    ],
)
def test_samples_that_are_none_are_refused(samples: Any, rate: int, reason: str) -> None:
    with pytest.raises(triptych.AudioError) as caught:
        Recording(samples, rate)
    assert caught.value.reason == reason


def test_a_string_is_a_path_when_it_looks_like_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.wav").write_bytes(b"")
    (tmp_path / "anna").write_bytes(b"")

    assert [is_name(voice) for voice in ("anna", "other.wav", "me.wav", "./anna", b"", tmp_path)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
