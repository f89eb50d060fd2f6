"""Samples to bytes: exact where they can be, clipped and never wrapped."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from services.frontend.audio import AudioFormat, Encoding, g711, wav
from services.frontend.audio.encoding import BYTES_PER_SAMPLE, MAX_AUDIO_BYTES, encode, header, max_samples
from services.frontend.audio.pcm import to_floats, to_samples

EVERY = np.arange(-32768, 32768).astype(np.int16)
TOO_LOUD = np.asarray([1.0, 1.5, -1.0, -1.5], np.float32)


def test_16_bits_pass_bit_for_bit() -> None:
    np.testing.assert_array_equal(to_samples(to_floats(EVERY)), EVERY)
    assert encode(to_floats(EVERY), Encoding.LINEAR16) == EVERY.astype("<i2").tobytes()


def test_floats_are_the_samples_over_full_scale() -> None:
    made = np.frombuffer(encode(to_floats(EVERY), Encoding.FLOAT32), "<f4")

    np.testing.assert_array_equal(made, EVERY / 32768)


def test_what_is_too_loud_is_clipped() -> None:
    assert np.frombuffer(encode(TOO_LOUD, Encoding.LINEAR16), "<i2").tolist() == [32767, 32767, -32768, -32768]
    assert np.frombuffer(encode(TOO_LOUD, Encoding.FLOAT32), "<f4").tolist() == [1.0, 1.0, -1.0, -1.0]


@pytest.mark.parametrize(("encoding", "law"), [(Encoding.MULAW, g711.mulaw), (Encoding.ALAW, g711.alaw)])
def test_telephone_encodings_are_g711(encoding: Encoding, law: object) -> None:
    assert callable(law)
    assert encode(to_floats(EVERY), encoding) == law(EVERY).tobytes()


@pytest.mark.parametrize("encoding", Encoding)
def test_sizes_are_as_said(encoding: Encoding) -> None:
    assert len(encode(np.zeros(7, np.float32), encoding)) == 7 * BYTES_PER_SAMPLE[encoding]
    assert encode(np.zeros(0, np.float32), encoding) == b""
    assert max_samples(encoding) * BYTES_PER_SAMPLE[encoding] <= MAX_AUDIO_BYTES < 2**16


@given(num_samples=st.integers(0, 2000), rate=st.sampled_from([8_000, 22_050, 48_000]))
def test_wav_with_its_length_is_read_by_a_library(num_samples: int, rate: int) -> None:
    samples = EVERY[:num_samples]
    file = wav.header(rate, num_samples) + samples.tobytes()
    read, read_rate = soundfile.read(io.BytesIO(file), dtype="int16")

    assert len(file) == wav.HEADER_BYTES + 2 * num_samples
    assert read_rate == rate
    np.testing.assert_array_equal(read, samples)


def test_header_of_a_stream_leaves_both_lengths_open() -> None:
    made = wav.header(22_050)

    assert len(made) == 44
    assert made[4:8] == made[40:44] == b"\xff\xff\xff\xff"
    assert made[:4] + made[8:40] == wav.header(22_050, 5)[:4] + wav.header(22_050, 5)[8:40]


@pytest.mark.parametrize("encoding", Encoding)
def test_only_a_wav_has_a_header(encoding: Encoding) -> None:
    assert bool(header(AudioFormat(encoding, 8_000))) == (encoding is Encoding.WAV)
