"""Every field of a config that can be wrong, and what becomes of those that are right."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import models_pb2, synthesis_pb2, voices_pb2
from services.common import tensors
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.request.parameters import params
from services.frontend.request.resolver import RequestRules, text_options
from services.frontend.request.validation import model_language
from services.frontend.workers.topology import Pipeline, Pool
from tests.fakes.stage_worker import add_emotion_text, describe
from tests.fakes.system import FakeSystem, FakeText, fake_system
from tests.fakes.voices import recording
from tests.unit.frontend.conftest import error_info, request

Config = synthesis_pb2.SynthesisConfig
Sampling, Render = synthesis_pb2.SamplingConfig, synthesis_pb2.RenderConfig
Audio, Text, Term = synthesis_pb2.AudioConfig, synthesis_pb2.TextConfig, synthesis_pb2.GlossaryTerm
Recording = synthesis_pb2.ReferenceRecording
Emotion, Vector = synthesis_pb2.Emotion, synthesis_pb2.EmotionVector
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NAN = float("nan")


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FakeSystem]:
    rules = RequestRules(max_inline_voice_bytes=200_000, priority_interactive=3, priority_batch=-3)
    async with fake_system(tmp_path_factory.mktemp("config"), rules=rules) as started:
        yield started


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (Config(sampling=Sampling(temperature=0.0)), "config.sampling.temperature"),
        (Config(sampling=Sampling(temperature=2.1)), "config.sampling.temperature"),
        (Config(sampling=Sampling(temperature=NAN)), "config.sampling.temperature"),
        (Config(sampling=Sampling(top_p=0.0)), "config.sampling.top_p"),
        (Config(sampling=Sampling(top_p=1.01)), "config.sampling.top_p"),
        (Config(sampling=Sampling(top_k=8195)), "config.sampling.top_k"),
        (Config(sampling=Sampling(repetition_penalty=0.05)), "config.sampling.repetition_penalty"),
        (Config(sampling=Sampling(max_codes=0)), "config.sampling.max_codes"),
        (Config(sampling=Sampling(max_codes=101)), "config.sampling.max_codes"),
        (Config(render=Render(steps=0)), "config.render.steps"),
        (Config(render=Render(steps=101)), "config.render.steps"),
        (Config(render=Render(cfg_rate=-0.1)), "config.render.cfg_rate"),
        (Config(render=Render(policy="compat")), "config.render.policy"),
        (Config(audio=Audio(segment_gap_ms=2001)), "config.audio.segment_gap_ms"),
        (Config(audio=Audio(sample_rate_hz=7999)), "config.audio.sample_rate_hz"),
        (Config(text=Text(max_segment_tokens=9)), "config.text.max_segment_tokens"),
        (Config(text=Text(max_segment_tokens=41)), "config.text.max_segment_tokens"),
        (Config(text=Text(disabled_rules=["hum"])), "config.text.disabled_rules"),
        (Config(text=Text(glossary=[Term(term="", reading="x")])), "config.text.glossary"),
        (Config(emotion=Emotion(vector=Vector(happy=1.1))), "config.emotion.vector.happy"),
        (Config(emotion=Emotion(vector=Vector(calm=NAN))), "config.emotion.vector.calm"),
        (Config(emotion=Emotion(vector=Vector(happy=1), weight=1.5)), "config.emotion.weight"),
        (Config(session_id="line\nbreak"), "config.session_id"),
        (Config(session_id="x" * 129), "config.session_id"),
        (Config(speaking_rate=0.49), "config.speaking_rate"),
        (Config(speaking_rate=2.01), "config.speaking_rate"),
        (Config(speaking_rate=NAN), "config.speaking_rate"),
        (Config(params={"length_penalty": 2.1}), "config.params[length_penalty]"),
        (Config(params={"length_penalty": NAN}), "config.params[length_penalty]"),
        (Config(params={"num_beams": 1.5}), "config.params[num_beams]"),
        (Config(max_first_audio_ms=0), "config.max_first_audio_ms"),
        (Config(max_first_audio_ms=600_001), "config.max_first_audio_ms"),
        (Config(priority=7), "config.priority"),  # type: ignore[arg-type]
    ],
    ids=str,
)
async def test_bad_field_is_refused_by_its_path(shared: FakeSystem, bad: Config, field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await shared.speech.Synthesize(synthesis_pb2.SynthesizeRequest(config=bad, text="One."))

    assert failure.value.code() is INVALID
    info = error_info(failure.value)
    assert (info["field"], info["reason"]) == (field, "OUT_OF_RANGE")


@pytest.mark.parametrize(
    ("bad", "field", "capability"),
    [
        (Config(instruction="softly"), "config.instruction", "instruction"),
        (Config(emotion=Emotion(text="glad")), "config.emotion.text", "emotion_text"),
        (
            Config(emotion=Emotion(vector=Vector(is_normalized=True))),
            "config.emotion.vector.is_normalized",
            "emotion_normalized",
        ),
        (Config(params={"exaggeration": 1}), "config.params[exaggeration]", "exaggeration"),
        (Config(params={"two words": 1}), "config.params", "params"),
        (
            Config(recording=Recording(audio=b"RIFF", transcript="Hello.")),
            "config.recording.transcript",
            "voice_transcript",
        ),
    ],
    ids=str,
)
async def test_what_the_model_cannot_do_is_refused_by_its_capability(
    shared: FakeSystem, bad: Config, field: str, capability: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await shared.speech.Synthesize(synthesis_pb2.SynthesizeRequest(config=bad, text="One."))

    info = error_info(failure.value)
    assert (failure.value.code(), info["reason"]) == (INVALID, "CAPABILITY_MISSING")
    assert (info["field"], info["capability"]) == (field, capability)


@pytest.mark.parametrize(
    ("bad", "field", "reason"),
    [
        (Config(emotion=Emotion(weight=0.5)), "config.emotion.weight", "FIELD_CONFLICT"),
        (Config(emotion=Emotion(voice="")), "config.emotion.voice", "FIELD_INVALID"),
        (Config(params={"temperature": 1}), "config.params[temperature]", "FIELD_CONFLICT"),
        (Config(params={"duration_factor": 1}), "config.params[duration_factor]", "FIELD_CONFLICT"),
        (Config(params={"length_penalty": 1}), "config.params[length_penalty]", "FIELD_CONFLICT"),
        (Config(params={"length_penalty": 1, "num_beams": 1}), "config.params[length_penalty]", "FIELD_CONFLICT"),
        (Config(sampling=Sampling(temperature=1, is_greedy=True)), "config.sampling.temperature", "FIELD_CONFLICT"),
        (Config(sampling=Sampling(top_p=0.5, is_greedy=True)), "config.sampling.top_p", "FIELD_CONFLICT"),
        (Config(sampling=Sampling(top_k=0, is_greedy=True)), "config.sampling.top_k", "FIELD_CONFLICT"),
        (Config(language="ru"), "config.language", "LANGUAGE_NOT_SUPPORTED"),
        (Config(recording=Recording()), "config.recording.audio", "RECORDING_EMPTY"),
        (Config(recording=Recording(audio=bytes(200_001))), "config.recording.audio", "RECORDING_TOO_LARGE"),
        (Config(recording=Recording(audio=b"no sound")), "config.recording.audio", "RECORDING_NOT_AUDIO"),
    ],
    ids=str,
)
async def test_other_refusals_have_reasons_of_their_own(
    shared: FakeSystem, bad: Config, field: str, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await shared.speech.Synthesize(synthesis_pb2.SynthesizeRequest(config=bad, text="One."))

    info = error_info(failure.value)
    assert (failure.value.code(), info["field"], info["reason"]) == (INVALID, field, reason)


async def test_params_error_lists_the_allowed_names(shared: FakeSystem) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="length_penalty, num_beams"):
        await shared.speech.Synthesize(request("One.", params={"exaggeration": 1}))


@pytest.mark.parametrize(
    "bad", [Config(model="nobody"), Config(voice="nobody"), Config(emotion=Emotion(voice="nobody"))]
)
async def test_unknown_name_is_not_found(shared: FakeSystem, bad: Config) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await shared.speech.Synthesize(synthesis_pb2.SynthesizeRequest(config=bad, text="One."))

    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("text", ["", "  \n", "...!?", "🙂🙂", "a\x07b", "a" * 5001])
async def test_bad_text_is_refused(shared: FakeSystem, text: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await shared.speech.Synthesize(request(text))

    assert failure.value.code() is INVALID
    assert error_info(failure.value)["field"] == "text"


async def test_parameters_go_to_the_stage_that_declares_them(shared: FakeSystem) -> None:
    await shared.speech.Synthesize(
        request(
            "One.", sampling=Sampling(repetition_penalty=0.5, is_greedy=True), render=Render(steps=7, policy="whole")
        )
    )

    gpt, s2mel, vocoder = (shared.stages[name].opens[-1] for name in ("gpt", "s2mel", "vocoder"))
    assert dict(gpt.params) == {"repetition_penalty": 0.5, "greedy": 1.0}
    assert dict(s2mel.params) == {"steps": 7.0}
    assert dict(vocoder.params) == {}
    assert {opening.policy.name for opening in (gpt, s2mel, vocoder)} == {"whole"}
    assert all(opening.policy.is_whole for opening in (gpt, s2mel, vocoder))
    assert gpt.policy.first_window_codes == 2


async def test_emotion_vector_is_an_option_in_the_published_order(shared: FakeSystem) -> None:
    vector = Vector(happy=0.1, angry=0.2, sad=0.3, afraid=0.4, disgusted=0.5, melancholic=0.6, surprised=0.7, calm=0.8)
    await shared.speech.Synthesize(request("One.", emotion=Emotion(vector=vector, weight=0.25)))

    opening = shared.stages["gpt"].opens[-1]
    given = tensors.from_proto(opening.options)["emotion_vector"]
    np.testing.assert_array_equal(given, np.arange(1, 9) / 10)
    assert opening.params["emotion_weight"] == 0.25


async def test_emotion_voice_lends_its_own_emotion(shared: FakeSystem) -> None:
    await shared.speech.Synthesize(request("One.", emotion=Emotion(voice="anna")))

    options = tensors.from_proto(shared.stages["gpt"].opens[-1].options)
    assert list(options) == ["emotion_emovec"]
    assert options["emotion_emovec"].shape == (4,)


async def test_model_says_what_it_can_do(shared: FakeSystem) -> None:
    model = (await shared.models.List(models_pb2.ListModelsRequest())).models[0]
    assert model == await shared.models.Get(models_pb2.GetModelRequest(name="fake"))
    assert model == await shared.models.Get(models_pb2.GetModelRequest())
    assert list(model.capabilities) == ["emotion_vector", "emotion_voice", "speaking_rate"]
    assert list(model.voice_modes) == [models_pb2.VOICE_MODE_REFERENCE]
    assert list(model.policies) == ["balanced", "whole"]
    assert [policy.name for policy in model.policy_numbers] == list(model.policies)
    assert [policy.is_whole for policy in model.policy_numbers] == [False, True]
    assert model.policy_numbers[0].first_window_codes == 2
    assert list(model.text_rules) == ["shout"]
    assert len(model.encodings) == 5
    assert [stage.name for stage in model.stages] == ["gpt", "s2mel", "vocoder"]
    assert all(stage.is_serving for stage in model.stages)
    assert model.limits.max_segment_tokens == 40
    assert model.limits.max_inline_voice_bytes == 200_000
    assert (model.limits.min_voice_seconds, model.limits.max_glossary_terms) == (1.0, 100)
    fields = {parameter.name: parameter.field for parameter in model.parameters}
    assert fields["temperature"] == "config.sampling.temperature"
    assert fields["speaking_rate"] == "config.speaking_rate"
    assert fields["num_beams"] == "config.params[num_beams]"
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await shared.models.Get(models_pb2.GetModelRequest(name="other"))
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


async def test_further_params_language_rate_and_priority_reach_the_stages(shared: FakeSystem) -> None:
    await shared.speech.Synthesize(
        request(
            "One.",
            params={"length_penalty": -1, "num_beams": 3},
            language="en-GB",
            speaking_rate=1.25,
            priority=synthesis_pb2.PRIORITY_BATCH,
        )
    )

    gpt, s2mel = shared.stages["gpt"].opens[-1], shared.stages["s2mel"].opens[-1]
    assert dict(gpt.params) == {"length_penalty": -1.0, "num_beams": 3.0}
    assert dict(s2mel.params) == {"duration_factor": 0.8}
    assert {gpt.language, s2mel.language} == {"en"}
    assert gpt.priority == -3
    await shared.speech.Synthesize(request("One."))
    assert shared.stages["gpt"].opens[-1].priority == 3
    assert not shared.stages["gpt"].opens[-1].language


@given(rate=st.floats(0.5, 2.0))
def test_every_speaking_rate_is_a_duration_factor_in_range(rate: float) -> None:
    pipeline = Pipeline("fake", "r1", (Pool(describe("s2mel"), []),))

    factor = params(Config(speaking_rate=rate), pipeline, stage_pb2.Policy())["duration_factor"]
    assert 0.5 <= factor <= 2.0
    assert factor * rate == pytest.approx(1.0)


async def test_text_options_change_how_the_text_is_cut(shared: FakeSystem) -> None:
    text = " ".join(["word"] * 20) + "."
    whole = await shared.speech.Synthesize(request(text))
    cut = await shared.speech.Synthesize(request(text, text=Text(max_segment_tokens=10)))

    assert len(whole.segments) == 1
    assert len(cut.segments) > 1
    assert all(segment.text_tokens <= 10 for segment in cut.segments)


async def test_emotion_text_becomes_the_options_that_a_worker_makes_of_it(tmp_path: Path) -> None:
    abouts = [describe(stage) for stage in ("gpt", "s2mel", "vocoder")]
    add_emotion_text(abouts[0])
    async with fake_system(tmp_path, abouts=abouts) as system:
        model = await system.models.Get(models_pb2.GetModelRequest())
        assert "emotion_text" in model.capabilities
        await system.speech.Synthesize(request("One.", emotion=Emotion(text="glad", weight=0.5)))
        opening = system.stages["gpt"].opens[-1]

        np.testing.assert_array_equal(tensors.from_proto(opening.options)["emotion_vector"], np.full(8, 0.004))
        assert opening.params["emotion_weight"] == 0.5
        for bad, reason in (("  ", "TEXT_EMPTY"), ("x" * 1001, "OUT_OF_RANGE")):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await system.speech.Synthesize(request("One.", emotion=Emotion(text=bad)))
            info = error_info(failure.value)
            assert (info["field"], info["reason"]) == ("config.emotion.text", reason)


@pytest.mark.parametrize(
    ("internal", "public"),
    [
        ("open.params[num_beams]", "config.params[num_beams]"),
        ("open.params[steps]", "config.render.steps"),
        ("open.policy.prefix_codes", "config.render.policy"),
        ("open.options[emotion_vector]", "config.emotion.vector"),
        ("chunk.tensors[ids]", "text"),
        ("voice.tensors", ""),
    ],
)
async def test_refusal_of_a_worker_names_the_callers_own_field(tmp_path: Path, internal: str, public: str) -> None:
    async with fake_system(tmp_path) as system:
        system.stages["gpt"].behaviour.refusal = InvalidRequestError("no", field=internal)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await system.speech.Synthesize(request("One."))

    assert error_info(failure.value).get("field", "") == public


async def test_recording_in_a_request_is_a_voice_for_it_alone(shared: FakeSystem) -> None:
    audio = recording(330.0)
    before = await shared.voices.List(voices_pb2.ListVoicesRequest())
    answer = await shared.speech.Synthesize(request("One.", recording=Recording(audio=audio)))
    default = await shared.speech.Synthesize(request("One."))
    hashes = [opening.voice_hash for opening in shared.stages["gpt"].opens[-2:]]

    assert answer.utterance.voice_id == hashlib.sha256(audio).hexdigest()
    assert answer.utterance.voice_id != default.utterance.voice_id
    assert hashes[0] != hashes[1]
    assert before == await shared.voices.List(voices_pb2.ListVoicesRequest())


def model_with_compat() -> Pipeline:
    about = describe("gpt")
    about.params.add(name="compat", minimum=0, maximum=1)
    return Pipeline("fake", "r1", (Pool(about, []),))


def test_beams_are_refused_without_the_policy_that_has_them_before_any_slot_is_taken() -> None:
    beams = {"num_beams": 3.0, "length_penalty": 1.0}
    with pytest.raises(InvalidRequestError, match="compat") as failure:
        params(Config(params=beams), model_with_compat(), stage_pb2.Policy(name="balanced"))
    assert (failure.value.field, failure.value.reason) == ("config.params[num_beams]", Reason.FIELD_CONFLICT)

    with_compat = params(Config(params=beams), model_with_compat(), stage_pb2.Policy(name="compat"))
    assert with_compat == {**beams, "compat": 1.0}


@pytest.mark.parametrize("field", ["language", "text"])
def test_published_way_refuses_what_it_does_not_know(field: str) -> None:
    pipeline = model_with_compat()
    said = {"language": {"language": "en"}, "text": {"text": Text(disabled_rules=["shout"])}}[field]

    with pytest.raises(InvalidRequestError, match="compat") as failure:
        text_options(Config(render=Render(policy="compat"), **said), pipeline, FakeText())  # type: ignore[arg-type]
    assert failure.value.reason == Reason.FIELD_CONFLICT


@pytest.mark.parametrize(
    ("tag", "own"), [("", ""), ("en", "en"), ("EN-gb", "en"), ("zh-Hant", "zh-CN"), ("zh-CN", "zh-CN"), ("ru", "ru")]
)
def test_language_is_told_to_the_stages_by_the_models_own_tag(tag: str, own: str) -> None:
    assert model_language(tag, ("zh-CN", "en")) == own
