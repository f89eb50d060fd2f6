"""Recordings that are accepted, and what every bad one gets."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import soxr

from services.common.errors import InvalidRequestError, TooLargeError, TtsError
from services.common.reasons import Category
from services.frontend.recordings.decode_child import RefusedError, decode
from services.frontend.recordings.decode_job import Job
from services.frontend.recordings.decoder import Decoder, RecordingLimits
from services.frontend.recordings.facts import VoiceWarningReason
from tests.fakes.system import tone

JOB = Job(
    rates=(22050, 16000),
    used_seconds=15.0,
    min_seconds=1.0,
    max_seconds=60.0,
    min_rate_hz=8_000,
    max_rate_hz=192_000,
    max_channels=8,
)


def encoded(
    samples: np.typing.NDArray[np.float32], kind: str = "WAV", subtype: str | None = None, *, rate: int = 16_000
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.wav", bytes(50_000_000))
    return file.getvalue()


def with_samples(**at: float) -> np.typing.NDArray[np.float32]:
    samples = tone(seconds=2.0)
    for position, value in at.items():
        samples[int(position[1:])] = value
    return samples


TRUNCATED = {
    f"{kind}-{share}": encoded(tone(seconds=4.0), kind)[: int(len(encoded(tone(seconds=4.0), kind)) * share)]
    for kind in ("WAV", "FLAC", "OGG", "MP3")
    for share in (0.4, 0.9)
}

BAD = {
    "empty": (b"", "RECORDING_EMPTY"),
    "text": (b"no audio at all" * 100, "RECORDING_NOT_AUDIO"),
    "zip bomb": (zip_bomb(), "RECORDING_NOT_AUDIO"),
    "another format": (encoded(tone(seconds=2.0), "AIFF"), "RECORDING_NOT_AUDIO"),
    "header alone": (encoded(tone(seconds=2.0))[:44], "RECORDING_TRUNCATED"),
    "no samples": (encoded(tone(seconds=0.0)), "RECORDING_TOO_SHORT"),
    "0.1 s": (encoded(tone(seconds=0.1)), "RECORDING_TOO_SHORT"),
    "10 min": (encoded(tone(seconds=600.0, rate=8000), "MP3", rate=8000), "RECORDING_TOO_LONG"),
    "silent": (encoded(np.zeros(32_000, np.float32)), "RECORDING_SILENT"),
    "silent where it is used": (
        encoded(np.concatenate([np.zeros(16_000 * 16, np.float32), tone(seconds=1.0)])),
        "RECORDING_SILENT",
    ),
    "NaN": (encoded(with_samples(_99=float("nan")), subtype="FLOAT"), "RECORDING_NOT_FINITE"),
    "infinite": (encoded(with_samples(_99=float("inf")), subtype="FLOAT"), "RECORDING_NOT_FINITE"),
    "4 kHz": (encoded(tone(seconds=2.0, rate=4000), rate=4000), "RECORDING_BAD_RATE"),
    "9 channels": (encoded(np.tile(tone(seconds=1.0)[:, None], 9)), "RECORDING_BAD_CHANNELS"),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_bad_recording_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        decode(data, JOB)

    assert refusal.value.reason == reason


@pytest.mark.parametrize("data", TRUNCATED.values(), ids=TRUNCATED)
def test_truncated_file_is_refused(data: bytes) -> None:
    with pytest.raises(RefusedError) as refusal:
        decode(data, JOB)

    assert refusal.value.reason in {"RECORDING_TRUNCATED", "RECORDING_NOT_AUDIO"}


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", None),
    ],
)
def test_accepted_formats_come_out_at_every_rate(kind: str, subtype: str | None) -> None:
    facts, arrays = decode(encoded(tone(seconds=2.0), kind, subtype), JOB)

    assert facts["sample_rate_hz"] == 16_000
    assert [len(array) for array in arrays] == pytest.approx([44_100, 32_000], rel=0.05)
    assert all(array.dtype == np.float32 and array.std() > 0.1 for array in arrays)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 96_000, 192_000])
def test_rates_from_8_to_192_khz_are_accepted(rate: int) -> None:
    facts, arrays = decode(encoded(tone(seconds=1.0, rate=rate), rate=rate), JOB)

    assert facts["sample_rate_hz"] == rate
    assert [len(array) for array in arrays] == [22_050, 16_000]


def test_up_to_eight_channels_are_mixed_by_their_mean() -> None:
    channels = np.stack([tone(seconds=1.0) * level for level in np.linspace(0, 0.9, 8)], axis=1)
    facts, (_, mono) = decode(encoded(channels, subtype="FLOAT"), JOB)

    assert facts["channels"] == 8
    np.testing.assert_allclose(mono, channels.mean(axis=1), atol=1e-6)


def test_resampling_is_soxr_from_the_native_rate_directly() -> None:
    native = tone(seconds=2.0, rate=44_100)
    _, arrays = decode(encoded(native, subtype="FLOAT", rate=44_100), JOB)

    for array, rate in zip(arrays, JOB.rates, strict=True):
        np.testing.assert_array_equal(array, soxr.resample(native, 44_100, rate, quality="HQ"))


def test_first_fifteen_seconds_are_used_and_said_so() -> None:
    facts, arrays = decode(encoded(tone(seconds=60.0, rate=8_000), rate=8_000), JOB)

    assert facts["used_seconds"] == 15.0
    assert facts["duration_seconds"] == 60.0
    assert [len(array) for array in arrays] == [(15 * 22_050), 15 * 16_000]
    assert any(
        warning.reason is VoiceWarningReason.LONG and "first 15 s" in warning.message for warning in facts["warnings"]
    )


def test_size_that_a_pipe_could_not_know_is_no_truncation() -> None:
    data = bytearray(encoded(tone(seconds=2.0)))
    data[40:44] = b"\xff\xff\xff\xff"

    facts, _ = decode(bytes(data), JOB)
    assert facts["duration_seconds"] == 2.0


async def test_child_process_decodes_what_the_gateway_asks_for() -> None:
    recording = await Decoder(RecordingLimits()).decode(encoded(tone(seconds=2.0)), (24_000, 16_000))

    assert recording.facts.duration_seconds == 2.0
    assert {rate: len(samples) for rate, samples in recording.audio.items()} == {24_000: 48_000, 16_000: 32_000}
    assert VoiceWarningReason.SHORT in {warning.reason for warning in recording.facts.warnings}


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"", InvalidRequestError), (zip_bomb(), InvalidRequestError), (BAD["10 min"][0], TooLargeError)],
    ids=["empty", "bomb", "10 min"],
)
async def test_refusal_of_the_child_is_a_typed_error(data: bytes, kind: type[TtsError]) -> None:
    with pytest.raises(kind) as failure:
        await Decoder(RecordingLimits()).decode(data, (16_000,))

    assert failure.value.field == "audio"
    assert failure.value.reason.category is Category.AUDIO


async def test_upload_over_the_limit_never_reaches_the_decoder() -> None:
    limits = replace(RecordingLimits(), max_bytes=1000)
    with pytest.raises(TooLargeError, match="1000"):
        await Decoder(limits).decode(bytes(1001))


async def test_child_that_runs_out_of_memory_or_time_costs_nobody_else() -> None:
    data = encoded(np.tile(tone(seconds=59.0, rate=48_000)[:, None], 2), rate=48_000)
    for limits in (
        replace(RecordingLimits(), memory_bytes=64 << 20),
        replace(RecordingLimits(), decode_seconds=0.01),
    ):
        with pytest.raises(InvalidRequestError) as failure:
            await Decoder(limits).decode(data, (22_050,))
        assert failure.value.reason == "RECORDING_TOO_COSTLY"
