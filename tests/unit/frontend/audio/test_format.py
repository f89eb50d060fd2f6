"""AudioConfig: defaults, limits and the errors that name them."""

from __future__ import annotations

import pytest

from protos.tts.v1 import synthesis_pb2
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.audio import AudioFormat, Encoding, audio_format

MODEL_RATE = 22_050


def config(**fields: int) -> synthesis_pb2.AudioConfig:
    return synthesis_pb2.AudioConfig(**fields)  # type: ignore[arg-type]


def test_encodings_have_the_numbers_of_the_contract() -> None:
    public = {name.removeprefix("AUDIO_ENCODING_"): value for name, value in synthesis_pb2.AudioEncoding.items()}
    del public["UNSPECIFIED"]

    assert {encoding.name: int(encoding) for encoding in Encoding} == public


def test_empty_config_is_16_bits_at_the_models_rate_in_chunks_of_40_ms() -> None:
    assert audio_format(config(), MODEL_RATE) == AudioFormat(
        Encoding.LINEAR16, MODEL_RATE, chunk_ms=40, gap_ms=200, tail_ms=0
    )


def test_zeros_that_are_set_are_kept() -> None:
    chosen = audio_format(config(chunk_ms=0, segment_gap_ms=0, tail_silence_ms=0), MODEL_RATE)

    assert (chosen.chunk_ms, chosen.chunk_samples, chosen.gap_ms, chosen.tail_ms) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample_rate_hz", 8_000),
        ("sample_rate_hz", 48_000),
        ("sample_rate_hz", 0),
        ("chunk_ms", 20),
        ("chunk_ms", 100),
        ("segment_gap_ms", 2000),
        ("tail_silence_ms", 2000),
        *(("encoding", int(encoding)) for encoding in Encoding),
    ],
)
def test_borders_are_allowed(field: str, value: int) -> None:
    audio_format(config(**{field: value}), MODEL_RATE)


@pytest.mark.parametrize(
    ("field", "value", "minimum", "maximum"),
    [
        ("sample_rate_hz", 7_999, "8000", "48000"),
        ("sample_rate_hz", 48_001, "8000", "48000"),
        ("chunk_ms", 1, "20", "100"),
        ("chunk_ms", 19, "20", "100"),
        ("chunk_ms", 101, "20", "100"),
        ("segment_gap_ms", 2001, "0", "2000"),
        ("tail_silence_ms", 2001, "0", "2000"),
        ("tail_silence_ms", 2**32 - 1, "0", "2000"),
    ],
)
def test_what_is_outside_is_refused_with_its_limits(field: str, value: int, minimum: str, maximum: str) -> None:
    with pytest.raises(InvalidRequestError) as failure:
        audio_format(config(**{field: value}), MODEL_RATE)

    assert failure.value.reason is Reason.OUT_OF_RANGE
    assert failure.value.field == f"config.audio.{field}"
    assert failure.value.metadata == {"minimum": minimum, "maximum": maximum}
    assert f"{minimum} to {maximum}" in failure.value.message


@pytest.mark.parametrize("number", [6, -1, 99])
def test_unknown_encoding_is_refused_with_those_that_are_known(number: int) -> None:
    with pytest.raises(InvalidRequestError) as failure:
        audio_format(config(encoding=number), MODEL_RATE)

    assert failure.value.reason is Reason.OUT_OF_RANGE
    assert failure.value.field == "config.audio.encoding"
    assert failure.value.metadata == {"allowed": "LINEAR16, FLOAT32, MULAW, ALAW, WAV"}


@pytest.mark.parametrize(("rate", "chunk_ms", "samples"), [(22_050, 40, 882), (22_050, 25, 551), (8_000, 20, 160)])
def test_chunk_is_a_rounded_number_of_samples(rate: int, chunk_ms: int, samples: int) -> None:
    assert AudioFormat(Encoding.LINEAR16, rate, chunk_ms=chunk_ms).chunk_samples == samples
