"""G.711 over all 65,536 inputs, against libsndfile."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from services.frontend.audio import g711
from services.frontend.audio.g711 import Bytes, Samples

EVERY = np.arange(-32768, 32768).astype(np.int16)
LAWS = [pytest.param(g711.mulaw, "ULAW", id="mulaw"), pytest.param(g711.alaw, "ALAW", id="alaw")]
Law = Callable[[Samples], Bytes]


def reference(samples: Samples, subtype: str) -> Bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format="RAW", subtype=subtype)
    return np.frombuffer(file.getvalue(), np.uint8)


def decoded(codes: Bytes, subtype: str) -> Samples:
    file = io.BytesIO(codes.tobytes())
    samples: Samples = soundfile.read(file, dtype="int16", samplerate=8000, channels=1, format="RAW", subtype=subtype)[
        0
    ]
    return samples


@pytest.mark.parametrize(("law", "subtype"), LAWS)
def test_every_sample_is_encoded_as_the_reference_does(law: Law, subtype: str) -> None:
    np.testing.assert_array_equal(law(EVERY), reference(EVERY, subtype))


@pytest.mark.parametrize(("law", "subtype"), LAWS)
def test_every_code_survives_decoding_and_encoding(law: Law, subtype: str) -> None:
    codes = law(EVERY)
    again = law(decoded(codes, subtype))

    # mu-law has two zeros; decoding does not tell them apart.
    same = np.where(codes == 0x7F, 0xFF, codes) if subtype == "ULAW" else codes
    np.testing.assert_array_equal(again, same)
    assert len(np.unique(codes)) == 256


@pytest.mark.parametrize(("law", "subtype"), LAWS)
def test_what_is_decoded_is_within_half_a_step(law: Law, subtype: str) -> None:
    """A step is a sixteenth of the sample with the law's bias, at least 16; beyond its largest value is no other."""
    size = np.abs(EVERY.astype(np.int32))
    error = np.abs(decoded(law(EVERY), subtype).astype(np.int32) - EVERY)

    assert (error <= np.maximum((size + 132) / 32, 8))[size <= 32_635].all()
    assert error.max() < 700


@pytest.mark.parametrize(
    ("law", "sample", "code"),
    [
        (g711.mulaw, 0, 0xFF),
        (g711.mulaw, 32767, 0x80),
        (g711.mulaw, -32768, 0x00),
        (g711.alaw, 0, 0xD5),
        (g711.alaw, -16, 0x54),
        (g711.alaw, 32767, 0xAA),
        (g711.alaw, -32768, 0x2A),
    ],
)
def test_known_values(law: Law, sample: int, code: int) -> None:
    assert law(np.asarray([sample], np.int16)).tolist() == [code]
