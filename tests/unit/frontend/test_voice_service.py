"""What tts.v1.Voices does besides uploading: changing, the default voice, transcripts, recordings in a request."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import grpc
import numpy as np
import pytest

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import voices_pb2
from services.common.errors import InvalidRequestError, NotFoundError, TooLargeError, TtsError
from services.common.grpc_errors import from_rpc_error
from services.common.reasons import Reason
from services.frontend.recordings.decoder import RecordingLimits
from services.frontend.voices.record import voice_id
from tests.fakes.stage_worker import describe
from tests.fakes.voices import VoiceSystem, recording, upload, voice_system
from tests.fakes.voices import create as send

Update = voices_pb2.UpdateVoiceRequest


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[VoiceSystem]:
    async with voice_system(tmp_path) as started:
        yield started


def whole_model(*takes: str, modes: tuple[str, ...] = ()) -> stage_pb2.DescribeResponse:
    """A model in one stage whose voice step takes these tensors; without any, it has no voice steps."""
    about = describe("whole")
    if takes:
        about.conditions.add(name="style", dtype="float32", shape=[4])
        about.voice_steps.add(name="style", takes=takes, gives=["style"], max_audio_seconds=15)
    about.voice_modes.extend(stage_pb2.VoiceMode.Value(f"VOICE_MODE_{mode}") for mode in modes)
    return about


async def create(
    system: VoiceSystem, name: str, hertz: float = 300.0, *, transcript: str = "", description: str = ""
) -> voices_pb2.Voice:
    messages = upload(name, recording(hertz), transcript=transcript, description=description)
    return await send(system.stub, messages)


async def get(system: VoiceSystem, name: str) -> voices_pb2.Voice:
    return await system.stub.Get(voices_pb2.GetVoiceRequest(name=name))


async def default(system: VoiceSystem) -> str:
    voice = await system.stub.GetDefault(voices_pb2.GetDefaultVoiceRequest())
    assert voice.is_default
    return voice.name


async def set_default(system: VoiceSystem, name: str) -> voices_pb2.Voice:
    return await system.stub.SetDefault(voices_pb2.SetDefaultVoiceRequest(name=name))


def files_below(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


async def refusal(call: Awaitable[object]) -> TtsError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return from_rpc_error(failure.value)


async def test_voice_says_all_that_is_known_of_it(system: VoiceSystem) -> None:
    created = await create(system, "bea", transcript="Hello.", description="A friend.")

    assert (created.transcript, created.description) == ("Hello.", "A friend.")
    assert created.source == voices_pb2.VOICE_SOURCE_REGISTERED
    assert not created.is_default
    assert voices_pb2.VOICE_WARNING_REASON_SHORT in [warning.reason for warning in created.warnings]
    assert all(warning.message for warning in created.warnings)
    anna = await get(system, "anna")
    assert anna.source == voices_pb2.VOICE_SOURCE_BUNDLED
    assert anna.is_default
    assert anna.duration_seconds == 2.0


async def test_update_changes_what_is_set_and_leaves_the_rest(system: VoiceSystem) -> None:
    created = await create(system, "bea", transcript="Hello.", description="A friend.")
    renamed = await system.stub.Update(Update(name="bea", new_name="beatrice"))
    emptied = await system.stub.Update(Update(name="beatrice", transcript=""))

    assert (renamed.name, renamed.id) == ("beatrice", created.id)
    assert (renamed.transcript, renamed.description) == ("Hello.", "A friend.")
    assert (emptied.transcript, emptied.description) == ("", "A friend.")
    assert emptied.duration_seconds == 2.0
    assert emptied == await get(system, "beatrice")
    assert (await refusal(system.stub.Get(voices_pb2.GetVoiceRequest(name="bea")))).reason is Reason.VOICE_NOT_FOUND


@pytest.mark.parametrize(
    ("update", "reason", "field"),
    [
        (Update(name="anna", description="x"), Reason.VOICE_READ_ONLY, "name"),
        (Update(name="nobody", description="x"), Reason.VOICE_NOT_FOUND, "name"),
        (Update(name="", description="x"), Reason.FIELD_INVALID, "name"),
        (Update(name="../bea", description="x"), Reason.VOICE_NOT_FOUND, "name"),
        (Update(name="bea", new_name="anna"), Reason.VOICE_NAME_TAKEN, "new_name"),
        (Update(name="bea", new_name="a/b"), Reason.VOICE_NAME_INVALID, "new_name"),
        (Update(name="bea", new_name=""), Reason.VOICE_NAME_INVALID, "new_name"),
        (Update(name="bea", transcript="x" * 2001), Reason.OUT_OF_RANGE, "transcript"),
        (Update(name="bea", description="x" * 501), Reason.OUT_OF_RANGE, "description"),
    ],
    ids=[
        "bundled",
        "unknown",
        "unnamed",
        "path",
        "taken",
        "name is a path",
        "no name",
        "long transcript",
        "long description",
    ],
)
async def test_bad_update_changes_nothing(system: VoiceSystem, update: Update, reason: Reason, field: str) -> None:
    created = await create(system, "bea")
    error = await refusal(system.stub.Update(update))

    assert (error.reason, error.field) == (reason, field)
    assert await get(system, "bea") == created


@pytest.mark.parametrize(
    ("transcript", "description", "field"),
    [("x" * 2001, "", "config.transcript"), ("", "x" * 501, "config.description")],
    ids=["transcript", "description"],
)
async def test_what_is_said_of_a_new_voice_has_a_length(
    system: VoiceSystem, transcript: str, description: str, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await create(system, "bea", transcript=transcript, description=description)

    error = from_rpc_error(failure.value)
    assert (error.reason, error.field) == (Reason.OUT_OF_RANGE, field)


async def test_message_of_an_upload_that_holds_nothing_is_refused(system: VoiceSystem) -> None:
    messages = [*upload("bea", recording()), voices_pb2.CreateVoiceRequest()]
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await send(system.stub, messages)

    assert from_rpc_error(failure.value).reason is Reason.MESSAGE_EMPTY


async def test_first_bundled_voice_is_the_default_until_one_is_set(tmp_path: Path) -> None:
    async with voice_system(tmp_path) as system:
        assert await default(system) == "anna"
        created = await create(system, "bea")
        assert (await set_default(system, created.id)).name == "bea"
        assert system.voices.resolve("", field_path="config.voice").id == created.id
        assert not (await get(system, "anna")).is_default
    async with voice_system(tmp_path) as system:
        assert await default(system) == "bea"


async def test_voices_of_all_models_are_there_and_the_first_of_the_default_model_serves(tmp_path: Path) -> None:
    (tmp_path / "another" / "voices").mkdir(parents=True)
    for name in ("aaron", "anna"):
        (tmp_path / "another" / "voices" / f"{name}.flac").write_bytes(recording(600.0))
    async with voice_system(tmp_path) as system:
        listed = (await system.stub.List(voices_pb2.ListVoicesRequest())).voices

        assert [(voice.name, voice.is_default) for voice in listed] == [("aaron", False), ("anna", True)]
        assert listed[1].id != voice_id(recording(600.0))


async def test_setting_goes_before_what_was_set_by_a_call(tmp_path: Path) -> None:
    async with voice_system(tmp_path) as system:
        await create(system, "bea")
        await create(system, "carl", 400.0)
        await set_default(system, "bea")
    async with voice_system(tmp_path, default="carl") as system:
        assert await default(system) == "carl"
        await set_default(system, "bea")
        assert await default(system) == "bea"


async def test_setting_that_names_no_voice_refuses_the_start(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="the setting default_voice: .*voices: anna") as failure:
        async with voice_system(tmp_path, default="nobody"):
            pass

    assert failure.value.field == "default_voice"


async def test_default_stays_through_a_rename(tmp_path: Path) -> None:
    async with voice_system(tmp_path) as system:
        await create(system, "bea")
        await set_default(system, "bea")
        await system.stub.Update(Update(name="bea", new_name="beatrice"))
        assert await default(system) == "beatrice"
    async with voice_system(tmp_path) as system:
        assert await default(system) == "beatrice"


async def test_deleted_default_falls_back_and_stays_so(tmp_path: Path) -> None:
    async with voice_system(tmp_path) as system:
        await create(system, "bea")
        await set_default(system, "bea")
        await system.stub.Delete(voices_pb2.DeleteVoiceRequest(name="bea"))
        assert await default(system) == "anna"
        await create(system, "bea", 500.0)
        assert await default(system) == "anna"
    async with voice_system(tmp_path) as system:
        assert await default(system) == "anna"


async def test_empty_name_is_invalid_wherever_one_is_needed(system: VoiceSystem) -> None:
    for call in (
        system.stub.Get(voices_pb2.GetVoiceRequest()),
        system.stub.Delete(voices_pb2.DeleteVoiceRequest()),
        system.stub.SetDefault(voices_pb2.SetDefaultVoiceRequest()),
    ):
        error = await refusal(call)
        assert (error.reason, error.field) == (Reason.FIELD_INVALID, "name")


async def test_unknown_or_empty_name_is_no_default(system: VoiceSystem) -> None:
    for name, reason in (("nobody", Reason.VOICE_NOT_FOUND), ("", Reason.FIELD_INVALID)):
        error = await refusal(system.stub.SetDefault(voices_pb2.SetDefaultVoiceRequest(name=name)))
        assert (error.reason, error.field) == (reason, "name")
    assert await default(system) == "anna"


async def test_bundled_file_that_is_no_recording_is_no_voice_and_no_default(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "anna.flac").write_bytes(b"no audio")
    async with voice_system(tmp_path, model_voices=tmp_path / "broken") as system:
        await system.voices.prepare()
        listed = await system.stub.List(voices_pb2.ListVoicesRequest())
        error = await refusal(system.stub.GetDefault(voices_pb2.GetDefaultVoiceRequest()))

    assert list(listed.voices) == []
    assert error.reason is Reason.VOICE_NOT_FOUND
    assert "no default voice" in error.message


async def test_features_depend_on_a_transcript_that_a_step_takes(tmp_path: Path) -> None:
    async with voice_system(tmp_path, abouts=[whole_model("audio_16000", "transcript")]) as system:
        await create(system, "bea", transcript="Hello.")
        first = await system.voices.features(system.voices.resolve("bea", field_path=""), system.pipeline)
        await system.stub.Update(Update(name="bea", transcript="Hello there."))
        second = await system.voices.features(system.voices.resolve("bea", field_path=""), system.pipeline)

        assert not np.array_equal(first["style"], second["style"])
        assert system.steps == ["style", "style"]


async def test_transcript_that_no_step_takes_changes_nothing(system: VoiceSystem) -> None:
    await create(system, "bea", transcript="Hello.")
    before = list(system.steps)
    await system.stub.Update(Update(name="bea", transcript="Hello there."))
    await system.voices.features(system.voices.resolve("bea", field_path=""), system.pipeline)

    assert system.steps == before


async def test_missing_transcript_is_named_where_a_model_needs_it(tmp_path: Path) -> None:
    async with voice_system(tmp_path, abouts=[whole_model("audio_16000", "transcript")]) as system:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await create(system, "bea")
        with pytest.raises(InvalidRequestError) as stored:
            await system.voices.features(system.voices.resolve("anna", field_path=""), system.pipeline)
        with pytest.raises(InvalidRequestError) as inline:
            await system.voices.inline(recording(), "", system.pipeline, field_path="config.recording")

        assert from_rpc_error(refused.value).field == "config.transcript"
        assert stored.value.field == "config.voice"
        assert inline.value.field == "config.recording.transcript"
        assert system.voices.names() == ["anna"]


async def test_model_that_takes_a_recording_with_and_without_transcript_needs_none(tmp_path: Path) -> None:
    about = whole_model("audio_16000", "transcript", modes=("REFERENCE", "REFERENCE_WITH_TRANSCRIPT"))
    async with voice_system(tmp_path, abouts=[about]) as system:
        await create(system, "bea")

        assert system.steps.count("style") >= 1


async def test_model_without_voice_steps_needs_no_features(tmp_path: Path) -> None:
    async with voice_system(tmp_path, abouts=[whole_model()]) as system:
        voice = await create(system, "bea")

        assert voice.duration_seconds == 2.0
        assert await system.voices.features(system.voices.resolve("bea", field_path=""), system.pipeline) == {}
        assert not list((tmp_path / "voices").rglob("features-*"))


async def test_recording_in_a_request_is_registered_nowhere(tmp_path: Path, system: VoiceSystem) -> None:
    await system.voices.prepare()
    before = files_below(tmp_path)
    data = recording(500.0)
    identifier, features = await system.voices.inline(data, "", system.pipeline, field_path="config.recording")

    assert identifier == voice_id(data)
    assert set(features) == {"latents", "self_emovec", "style"}
    assert system.voices.names() == ["anna"]
    assert files_below(tmp_path) == before


async def test_features_of_a_recording_in_a_request_are_computed_once(system: VoiceSystem) -> None:
    await system.voices.prepare()
    system.stages["s2mel"].encoded.clear()
    data = recording(500.0)
    for _ in range(2):
        await system.voices.inline(data, "", system.pipeline, field_path="config.recording")

    assert system.stages["s2mel"].encoded == ["style"]


async def test_recording_that_is_registered_serves_a_request_that_brings_it(tmp_path: Path) -> None:
    async with voice_system(tmp_path) as system:
        await create(system, "bea")
    async with voice_system(tmp_path) as system:
        await system.voices.prepare()
        before = list(system.steps)
        await system.voices.inline(recording(), "", system.pipeline, field_path="config.recording")

        assert system.steps == before


async def test_bad_recording_in_a_request_is_refused_by_its_field(tmp_path: Path) -> None:
    async with voice_system(tmp_path, recordings=RecordingLimits(max_bytes=100_000)) as system:
        for data, kind, reason in (
            (b"", InvalidRequestError, Reason.RECORDING_EMPTY),
            (b"no audio", InvalidRequestError, Reason.RECORDING_NOT_AUDIO),
            (recording(seconds=0.5), InvalidRequestError, Reason.RECORDING_TOO_SHORT),
            (bytes(100_001), TooLargeError, Reason.RECORDING_TOO_LARGE),
        ):
            with pytest.raises(kind) as failure:
                await system.voices.inline(data, "", system.pipeline, field_path="config.recording")
            assert (failure.value.reason, failure.value.field) == (reason, "config.recording.audio")


async def test_full_disk_refuses_an_upload_and_not_speech(
    tmp_path: Path, system: VoiceSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(system, "bea")
    voice = system.voices.resolve("bea", field_path="")
    for path in (tmp_path / "voices").rglob("features-*"):
        path.unlink()
    system.voices._features._recent.clear()

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await create(system, "carl", 400.0)
    assert failure.value.code() is grpc.StatusCode.INTERNAL
    assert from_rpc_error(failure.value).reason is Reason.STORE_FAILED
    assert system.voices.names() == ["anna", "bea"]
    assert set(await system.voices.features(voice, system.pipeline)) == {"latents", "self_emovec", "style"}
