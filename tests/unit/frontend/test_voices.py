"""tts.v1.Voices over real sockets, with features from fake stages."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import soundfile

from protos.tts.v1 import voices_pb2
from services.common import tensors
from services.frontend.recordings.decoder import RecordingLimits
from tests.fakes.system import FakeSystem, fake_system, tone
from tests.fakes.voices import create
from tests.unit.frontend.conftest import request

Create = voices_pb2.CreateVoiceRequest


def recording(hertz: float = 300.0, *, seconds: float = 2.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(seconds=seconds, hertz=hertz), 16_000, format="FLAC")
    return file.getvalue()


def upload(name: str, data: bytes, *, piece: int = 1000) -> Iterator[Create]:
    yield Create(config=voices_pb2.CreateVoiceConfig(name=name))
    for start in range(0, len(data), piece):
        yield Create(audio=data[start : start + piece])


async def test_created_voice_is_ready_before_its_first_use(system: FakeSystem) -> None:
    voice = await system.voices.Create(upload("bea", recording()))
    steps = [*system.stages["gpt"].encoded, *system.stages["s2mel"].encoded]
    answer = await system.speech.Synthesize(request("One.", voice="bea"))

    assert voice.duration_seconds == 2.0
    assert answer.utterance.voice_id == voice.id
    assert steps.count("style") >= 1
    assert [*system.stages["gpt"].encoded, *system.stages["s2mel"].encoded].count("style") <= 2


async def test_each_stage_gets_its_own_conditions_once(system: FakeSystem) -> None:
    for _ in range(2):
        await system.speech.Synthesize(request("One."))

    gpt, s2mel, vocoder = (system.stages[name] for name in ("gpt", "s2mel", "vocoder"))
    assert [sorted(voice) for voice in gpt.voices.values()] == [["latents", "self_emovec"]]
    assert [sorted(voice) for voice in s2mel.voices.values()] == [["style"]]
    assert vocoder.opens[0].voice_hash == ""
    assert {opening.voice_hash for opening in gpt.opens} == set(gpt.voices)
    assert all(tensors.digest(voice) == name for name, voice in gpt.voices.items())


async def test_two_recordings_give_two_voices_for_the_stages(system: FakeSystem) -> None:
    await system.voices.Create(upload("bea", recording()))
    await system.speech.Synthesize(request("One."))
    await system.speech.Synthesize(request("One.", voice="bea"))

    assert len(system.stages["gpt"].voices) == 2


async def test_list_get_and_delete(system: FakeSystem) -> None:
    created = await system.voices.Create(upload("bea", recording()))
    listed = (await system.voices.List(voices_pb2.ListVoicesRequest())).voices
    by_id = await system.voices.Get(voices_pb2.GetVoiceRequest(name=created.id))

    assert [voice.name for voice in listed] == ["anna", "bea"]
    assert all(voice.duration_seconds == 2.0 for voice in listed)
    assert by_id == created
    await system.voices.Delete(voices_pb2.DeleteVoiceRequest(name="bea"))
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.voices.Get(voices_pb2.GetVoiceRequest(name="bea"))
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


async def test_features_are_computed_once_for_all_restarts(tmp_path: Path) -> None:
    async with fake_system(tmp_path) as system:
        await system.voices.Create(upload("bea", recording()))
    async with fake_system(tmp_path) as system:
        await system.gateway.voices.prepare()
        for stage in system.stages.values():
            stage.encoded.clear()
        await system.speech.Synthesize(request("One.", voice="bea"))

        assert system.stages["gpt"].encoded == []


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([], grpc.StatusCode.INVALID_ARGUMENT),
        ([Create(audio=b"x")], grpc.StatusCode.INVALID_ARGUMENT),
        (list(upload("bea", recording()))[:1] * 2, grpc.StatusCode.INVALID_ARGUMENT),
        (list(upload("../bea", recording())), grpc.StatusCode.INVALID_ARGUMENT),
        (list(upload("bea", b"")), grpc.StatusCode.INVALID_ARGUMENT),
        (list(upload("bea", recording(seconds=0.1))), grpc.StatusCode.INVALID_ARGUMENT),
        (list(upload("bea", bytes(20_000_001), piece=1 << 20)), grpc.StatusCode.INVALID_ARGUMENT),
        (list(upload("anna", recording())), grpc.StatusCode.ALREADY_EXISTS),
    ],
    ids=["nothing", "audio first", "config twice", "path", "empty", "short", "over 20 MB", "taken"],
)
async def test_bad_upload_is_refused(system: FakeSystem, messages: list[Create], code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await create(system.voices, messages)

    assert failure.value.code() is code
    assert "bea" not in system.gateway.voices.names()


async def test_uploads_are_counted_and_silent_ones_end(tmp_path: Path) -> None:
    limits = RecordingLimits(max_uploads=1, upload_idle_seconds=0.5)
    async with fake_system(tmp_path, recordings=limits) as system:
        silent = system.voices.Create()
        await silent.write(Create(config=voices_pb2.CreateVoiceConfig(name="bea")))
        await asyncio.sleep(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await system.voices.Create(iter([]))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await silent

        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await system.voices.Create(upload("bea", recording()))).name == "bea"


async def test_good_recording_waits_for_workers_and_a_bad_one_does_not(tmp_path: Path) -> None:
    async with fake_system(tmp_path, stages=("gpt", "s2mel")) as system:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await system.voices.Create(upload("bea", recording()))
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await system.voices.Create(upload("bea", b"no audio"))
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert system.gateway.voices.names() == ["anna"]


async def test_bundled_voice_cannot_be_deleted(system: FakeSystem) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.voices.Delete(voices_pb2.DeleteVoiceRequest(name="anna"))

    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
