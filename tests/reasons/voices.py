"""Requests about voices: names, and recordings that no voice can be made of."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile

from protos.tts.v1 import voices_pb2
from services.common.reasons import Reason
from services.frontend.recordings.decoder import RecordingLimits
from tests.fakes.system import fake_system, tone
from tests.fakes.voices import recording, upload, voice_system
from tests.reasons.failures import Failure, failure_of, failure_of_messages
from tests.reasons.table import Place, reaches, speech

Samples = np.typing.NDArray[np.float32]


async def create(place: Place, data: bytes) -> Failure:
    """Upload a recording that is refused."""
    return await upload_to(place.system.voices, "refused", data)


async def upload_to(stub: Any, name: str, data: bytes) -> Failure:
    return await failure_of_messages(stub.Create(), upload(name, data, piece=1 << 20))


def wav(samples: Samples, rate: int = 16_000, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file.getvalue()


@reaches(Reason.VOICE_NAME_INVALID, field="config.name")
async def name_a_path(place: Place) -> Failure:
    return await upload_to(place.system.voices, "../anna", recording())


@reaches(Reason.VOICE_NAME_TAKEN, field="config.name")
async def take_a_name(place: Place) -> Failure:
    return await upload_to(place.system.voices, "anna", recording(500.0))


@reaches(Reason.VOICE_NOT_FOUND, field="config.voice", is_utterance=True)
async def speak_as_nobody(place: Place) -> Failure:
    failure = await failure_of(place.system.speech.Synthesize(speech("One.", voice="nobody")))
    assert failure.resource == "voice"
    return failure


@reaches(Reason.VOICE_READ_ONLY, field="name")
async def delete_a_voice_of_the_model(place: Place) -> Failure:
    return await failure_of(place.system.voices.Delete(voices_pb2.DeleteVoiceRequest(name="anna")))


@reaches(Reason.RECORDING_EMPTY, field="audio")
async def record_nothing(place: Place) -> Failure:
    return await create(place, b"")


@reaches(Reason.RECORDING_NOT_AUDIO, field="audio")
async def record_words(place: Place) -> Failure:
    return await create(place, b"words" * 100)


@reaches(Reason.RECORDING_TRUNCATED, field="audio")
async def record_half_a_file(place: Place) -> Failure:
    return await create(place, wav(tone(seconds=2.0))[:-20_000])


@reaches(Reason.RECORDING_NOT_FINITE, field="audio")
async def record_no_numbers(place: Place) -> Failure:
    return await create(place, wav(np.full(20_000, np.nan, np.float32), subtype="FLOAT"))


@reaches(Reason.RECORDING_TOO_SHORT, field="audio")
async def record_too_little(place: Place) -> Failure:
    return await create(place, wav(tone(seconds=0.9)))


@reaches(Reason.RECORDING_TOO_LONG, field="audio")
async def record_too_long(place: Place) -> Failure:
    return await create(place, wav(tone(seconds=61.0, rate=8_000), 8_000, "PCM_U8"))


@reaches(Reason.RECORDING_TOO_LARGE, field="audio")
async def record_too_much(place: Place) -> Failure:
    return await create(place, bytes(RecordingLimits().max_bytes + 1))


@reaches(Reason.RECORDING_SILENT, field="audio")
async def record_silence(place: Place) -> Failure:
    return await create(place, wav(np.zeros(20_000, np.float32)))


@reaches(Reason.RECORDING_BAD_RATE, field="audio")
async def record_at_a_low_rate(place: Place) -> Failure:
    return await create(place, wav(tone(seconds=2.0, rate=7_999), 7_999))


@reaches(Reason.RECORDING_BAD_CHANNELS, field="audio")
async def record_nine_channels(place: Place) -> Failure:
    return await create(place, wav(np.tile(tone(seconds=1.0)[:, None], 9)))


@reaches(Reason.RECORDING_TOO_COSTLY, field="audio")
async def record_what_takes_too_long(place: Place) -> Failure:
    async with fake_system(place.directory, recordings=RecordingLimits(decode_seconds=0.01)) as system:
        return await upload_to(system.voices, "refused", recording())


@reaches(Reason.RECORDING_GONE, field="name")
async def ask_for_a_file_that_has_gone(place: Place) -> Failure:
    # Without a stage nobody has looked into the file before.
    async with voice_system(place.directory, abouts=[]) as system:
        (place.directory / "model" / "voices" / "anna.flac").unlink()
        return await failure_of(system.stub.Get(voices_pb2.GetVoiceRequest(name="anna")))


@reaches(Reason.STORE_FAILED)
async def create_where_nothing_can_be_written(place: Place) -> Failure:
    async with voice_system(place.directory) as system:
        store = place.directory / "voices"
        store.rename(place.directory / "away")
        store.touch()
        return await upload_to(system.stub, "carl", recording(400.0))
