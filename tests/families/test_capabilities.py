"""Each model says what it can do, and what it cannot is refused by name."""

from __future__ import annotations

import grpc
import pytest

from protos.tts.v1 import models_pb2, synthesis_pb2, voices_pb2
from tests.families import chime, duet
from tests.families.asking import RECORDING, analyze, error_info, recording, request, upload
from tests.families.system import Families

TEXT = "Over the hills."
VECTOR = synthesis_pb2.Emotion(vector=synthesis_pb2.EmotionVector(happy=1))
STEPS = synthesis_pb2.RenderConfig(steps=3)
TEMPERATURE = synthesis_pb2.SamplingConfig(temperature=1)


async def refusal(system: Families, **fields: object) -> tuple[grpc.StatusCode, dict[str, str], str]:
    """How a request is refused; no worker may have heard of it."""
    steps = {stage: worker.loop.steps for stage, worker in system.workers.items()}
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Synthesize(request(TEXT, **fields))
    assert {stage: worker.loop.steps for stage, worker in system.workers.items()} == steps
    return failure.value.code(), error_info(failure.value), failure.value.details() or ""


async def test_models_say_what_they_are(system: Families) -> None:
    one, two = (await system.models.List(models_pb2.ListModelsRequest())).models

    assert [(model.name, model.is_default, model.sample_rate_hz) for model in (one, two)] == [
        ("chime", True, 24_000),
        ("duet", False, 24_000),
    ]
    assert [[stage.name for stage in model.stages] for model in (one, two)] == [["chime"], ["talker", "codec"]]
    assert (list(one.languages), list(two.languages)) == (["en"], ["de", "en"])
    assert list(one.voice_modes) == [models_pb2.VOICE_MODE_NAMED]
    assert list(two.voice_modes) == [models_pb2.VOICE_MODE_REFERENCE_WITH_TRANSCRIPT]
    assert (list(one.speakers), list(two.speakers)) == (["alto", "bass"], [])
    assert list(one.capabilities) == []
    assert list(two.capabilities) == ["instruction", "speaking_rate"]
    assert list(one.policies) == list(two.policies) == ["balanced", "whole"]
    assert list(one.text_rules) == list(two.text_rules) == ["glossary", "lowercase"]
    assert (one.limits.max_segment_tokens, two.limits.max_segment_tokens) == (60, 40)


async def test_models_say_which_numbers_may_be_set_and_where(system: Families) -> None:
    one = await system.models.Get(models_pb2.GetModelRequest())
    two = await system.models.Get(models_pb2.GetModelRequest(name=duet.MODEL))

    [speed] = one.parameters
    assert (speed.name, speed.minimum, speed.maximum, speed.default_value, speed.field) == (
        "speed",
        0.5,
        2.0,
        1.0,
        "config.params[speed]",
    )
    assert {each.name: (each.minimum, each.maximum, each.default_value, each.field) for each in two.parameters} == {
        "max_codes": (1, 1000, 1000, "config.sampling.max_codes"),
        "speaking_rate": (0.5, 2.0, 1.0, "config.speaking_rate"),
    }


@pytest.mark.parametrize(
    ("fields", "capability", "path"),
    [
        ({"instruction": "softly"}, "instruction", "config.instruction"),
        ({"speaking_rate": 1.5}, "speaking_rate", "config.speaking_rate"),
        ({"recording": recording()}, "voice_reference", "config.recording"),
        ({"emotion": VECTOR}, "emotion_vector", "config.emotion.vector"),
        ({"sampling": TEMPERATURE}, "temperature", "config.sampling.temperature"),
        ({"render": STEPS}, "steps", "config.render.steps"),
        ({"params": {"exaggeration": 1.0}}, "exaggeration", "config.params[exaggeration]"),
    ],
)
async def test_what_the_one_stage_cannot_do_is_refused_by_name(
    system: Families, fields: dict[str, object], capability: str, path: str
) -> None:
    code, info, message = await refusal(system, model=chime.MODEL, **fields)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (info["reason"], info["category"]) == ("CAPABILITY_MISSING", "MODEL")
    assert (info["capability"], info["field"]) == (capability, path)
    assert "chime" in message


@pytest.mark.parametrize(
    ("fields", "capability", "path"),
    [
        ({"params": {"speed": 1.5}}, "speed", "config.params[speed]"),
        ({"emotion": VECTOR}, "emotion_vector", "config.emotion.vector"),
        ({"sampling": TEMPERATURE}, "temperature", "config.sampling.temperature"),
        ({"render": STEPS}, "steps", "config.render.steps"),
    ],
)
async def test_what_the_two_stages_cannot_do_is_refused_by_name(
    system: Families, fields: dict[str, object], capability: str, path: str
) -> None:
    code, info, message = await refusal(system, model=duet.MODEL, **fields)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (info["reason"], info["capability"], info["field"]) == ("CAPABILITY_MISSING", capability, path)
    assert "duet" in message


async def test_a_model_without_codes_tells_none(system: Families) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Analyze(analyze(TEXT, model=chime.MODEL, with_codes=True))

    info = error_info(failure.value)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (info["reason"], info["capability"], info["field"]) == ("CAPABILITY_MISSING", "codes", "with_codes")


@pytest.mark.parametrize(
    ("fields", "path", "allowed"),
    [
        ({"params": {"speed": 3.0}}, "config.params[speed]", "0.5 to 2"),
        ({"params": {"speed": float("nan")}}, "config.params[speed]", "0.5 to 2"),
        ({"model": duet.MODEL, "speaking_rate": 0.4}, "config.speaking_rate", "0.5 to 2"),
        (
            {"model": duet.MODEL, "sampling": synthesis_pb2.SamplingConfig(max_codes=1001)},
            "config.sampling.max_codes",
            "1 to 1000",
        ),
        ({"text": synthesis_pb2.TextConfig(max_segment_tokens=61)}, "config.text.max_segment_tokens", "10 to 60"),
        (
            {"model": duet.MODEL, "text": synthesis_pb2.TextConfig(max_segment_tokens=41)},
            "config.text.max_segment_tokens",
            "10 to 40",
        ),
        ({"render": synthesis_pb2.RenderConfig(policy="compat")}, "config.render.policy", "balanced, whole"),
    ],
)
async def test_each_model_has_ranges_of_its_own(
    system: Families, fields: dict[str, object], path: str, allowed: str
) -> None:
    code, info, message = await refusal(system, **fields)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (info["reason"], info["field"]) == ("OUT_OF_RANGE", path)
    assert allowed in message


async def test_each_model_has_languages_of_its_own(system: Families) -> None:
    code, info, message = await refusal(system, model=chime.MODEL, language="de")

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (info["reason"], info["field"]) == ("LANGUAGE_NOT_SUPPORTED", "config.language")
    assert message.endswith("its languages are: en")
    answer = await system.speech.Synthesize(request(TEXT, model=duet.MODEL, language="de"))
    assert answer.utterance.language == "de"


async def test_unknown_voice_is_answered_with_the_models_own_speakers(system: Families) -> None:
    code, info, message = await refusal(system, voice="tenor")

    assert code is grpc.StatusCode.NOT_FOUND
    assert info["reason"] == "VOICE_NOT_FOUND"
    assert "alto, bass" in message


async def test_speakers_belong_to_their_model(system: Families) -> None:
    code, info, _ = await refusal(system, model=duet.MODEL, voice="alto")

    assert code is grpc.StatusCode.NOT_FOUND
    assert info["reason"] == "VOICE_NOT_FOUND"


async def test_recording_without_its_transcript_is_refused_where_it_is_needed(system: Families) -> None:
    code, info, message = await refusal(system, model=duet.MODEL, recording=recording(""))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (info["reason"], info["field"]) == ("FIELD_CONFLICT", "config.recording.transcript")
    assert "transcript" in message


async def test_registered_voice_can_be_used_once_it_has_a_transcript(system: Families) -> None:
    await system.voices.Create(upload("bob", RECORDING))
    try:
        code, info, _ = await refusal(system, model=duet.MODEL, voice="bob")
        await system.voices.Update(voices_pb2.UpdateVoiceRequest(name="bob", transcript="la la la"))
        answer = await system.speech.Synthesize(request(TEXT, model=duet.MODEL, voice="bob"))
        _, of_chime, _ = await refusal(system, model=chime.MODEL, voice="bob")
    finally:
        await system.voices.Delete(voices_pb2.DeleteVoiceRequest(name="bob"))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (info["reason"], info["field"]) == ("FIELD_CONFLICT", "config.voice")
    assert answer.audio
    assert (of_chime["reason"], of_chime["capability"]) == ("CAPABILITY_MISSING", "voice_reference")


async def test_unknown_model_is_answered_with_those_there_are(system: Families) -> None:
    code, info, message = await refusal(system, model="trio")

    assert code is grpc.StatusCode.NOT_FOUND
    assert (info["reason"], info["field"]) == ("MODEL_NOT_FOUND", "config.model")
    assert "chime, duet" in message
