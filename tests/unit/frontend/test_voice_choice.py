"""Whose voice a request gets, by what the model can speak in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import synthesis_pb2
from tests.fakes.stage_worker import describe
from tests.fakes.system import FakeSystem, fake_system
from tests.fakes.voices import recording, upload
from tests.unit.frontend.conftest import error_info, request

Recording = synthesis_pb2.ReferenceRecording


@asynccontextmanager
async def model_with(
    directory: Path, *modes: stage_pb2.VoiceMode.ValueType, needs_style: bool = True
) -> AsyncIterator[FakeSystem]:
    """A model in one stage, which knows a voice by its style."""
    about = describe("everything")
    about.voice_modes.extend(modes)
    if needs_style:
        about.conditions.add(name="style", dtype="float32", shape=[4])
        about.voice_steps.add(name="style", takes=["audio_16000", "transcript"], gives=["style"], max_audio_seconds=15)
    async with fake_system(directory, abouts=[about]) as system:
        yield system


async def refusal(system: FakeSystem, **fields: object) -> dict[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Synthesize(request("One.", **fields))
    return error_info(failure.value)


async def test_model_that_needs_transcripts_says_where_one_is_missing(tmp_path: Path) -> None:
    async with model_with(tmp_path, stage_pb2.VOICE_MODE_REFERENCE_WITH_TRANSCRIPT) as system:
        await system.voices.Create(upload("said", recording(), transcript="One two."))
        for fields, path in (
            ({"recording": Recording(audio=recording())}, "config.recording.transcript"),
            ({"voice": "anna"}, "config.voice"),
            ({}, "config.voice"),
        ):
            info = await refusal(system, **fields)
            assert (info["reason"], info["field"]) == ("FIELD_CONFLICT", path)

        named = await system.speech.Synthesize(request("One.", voice="said"))
        inline = await system.speech.Synthesize(
            request("One.", recording=Recording(audio=recording(), transcript="One two."))
        )
        assert named.utterance.voice_id == inline.utterance.voice_id
        first, second = system.stages["everything"].opens
        assert first.voice_hash == second.voice_hash


async def test_transcript_changes_the_voice_of_a_model_that_takes_it(tmp_path: Path) -> None:
    modes = (stage_pb2.VOICE_MODE_REFERENCE, stage_pb2.VOICE_MODE_REFERENCE_WITH_TRANSCRIPT)
    async with model_with(tmp_path, *modes) as system:
        for transcript in ("", "One two."):
            given = Recording(audio=recording(), transcript=transcript)
            await system.speech.Synthesize(request("One.", recording=given))

        first, second = system.stages["everything"].opens
        assert first.voice_hash != second.voice_hash


async def test_transcript_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async with model_with(tmp_path, stage_pb2.VOICE_MODE_REFERENCE_WITH_TRANSCRIPT) as system:
        info = await refusal(system, recording=Recording(audio=recording(), transcript="x" * 2001))

    assert (info["reason"], info["field"]) == ("OUT_OF_RANGE", "config.recording.transcript")


async def test_model_that_knows_no_voices_needs_none(tmp_path: Path) -> None:
    async with model_with(tmp_path, needs_style=False) as system:
        answer = await system.speech.Synthesize(request("One."))

    assert answer.audio
    assert not answer.utterance.voice_id


async def test_model_that_needs_a_voice_and_names_no_way_to_give_one_is_at_fault(tmp_path: Path) -> None:
    async with model_with(tmp_path) as system:
        assert (await refusal(system))["reason"] == "VOICE_STEPS_INCOMPLETE"


async def test_default_voice_goes_before_the_models_own_where_recordings_work(tmp_path: Path) -> None:
    about = describe("talker")
    about.voice_modes.append(stage_pb2.VOICE_MODE_REFERENCE)
    async with fake_system(tmp_path, abouts=[about, describe("codec")]) as system:
        answer = await system.speech.Synthesize(request("One."))
        assert answer.utterance.voice_id == system.gateway.voices.resolve("anna", field_path="").id
        assert not system.stages["talker"].opens[-1].speaker

        answer = await system.speech.Synthesize(request("One.", voice="bob"))
        assert [answer.utterance.voice_id, system.stages["talker"].opens[-1].speaker] == ["bob", "bob"]


async def test_models_own_voice_serves_where_the_default_one_cannot(tmp_path: Path) -> None:
    about = describe("talker")
    about.voice_modes.append(stage_pb2.VOICE_MODE_REFERENCE_WITH_TRANSCRIPT)
    about.voice_steps.add(name="style", takes=["audio_16000", "transcript"], gives=["style"], max_audio_seconds=15)
    async with fake_system(tmp_path, abouts=[about, describe("codec")]) as system:
        answer = await system.speech.Synthesize(request("One."))

    assert answer.utterance.voice_id == "ada"
