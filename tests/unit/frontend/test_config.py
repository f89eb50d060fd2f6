"""Every field of a config that can be wrong, and what becomes of those that are right."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from protos.tts.v1 import models_pb2, synthesis_pb2
from services.common import tensors
from tests.fakes.system import FakeSystem, fake_system
from tests.unit.frontend.conftest import request

Config = synthesis_pb2.SynthesisConfig
Sampling, Render = synthesis_pb2.SamplingConfig, synthesis_pb2.RenderConfig
Emotion, Vector = synthesis_pb2.Emotion, synthesis_pb2.EmotionVector
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NAN = float("nan")


def violated_field(error: grpc.aio.AioRpcError) -> str:
    details = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(details["grpc-status-details-bin"])
    for detail in status.details:
        request = error_details_pb2.BadRequest()
        if detail.Unpack(request):
            return str(request.field_violations[0].field)
    return ""


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FakeSystem]:
    async with fake_system(tmp_path_factory.mktemp("config")) as started:
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
        (Config(render=Render(segment_gap_ms=2001)), "config.render.segment_gap_ms"),
        (Config(render=Render(max_segment_tokens=9)), "config.render.max_segment_tokens"),
        (Config(render=Render(max_segment_tokens=41)), "config.render.max_segment_tokens"),
        (Config(emotion=Emotion(weight=0.5)), "config.emotion.weight"),
        (Config(emotion=Emotion(vector=Vector(happy=1.1))), "config.emotion.vector.happy"),
        (Config(emotion=Emotion(vector=Vector(calm=NAN))), "config.emotion.vector.calm"),
        (Config(emotion=Emotion(vector=Vector(happy=1), weight=1.5)), "config.emotion.weight"),
        (Config(emotion=Emotion(vector=Vector(is_normalized=True))), "config.emotion.vector.is_normalized"),
        (Config(emotion=Emotion(voice="")), "config.emotion.voice"),
        (Config(session_id="line\nbreak"), "config.session_id"),
        (Config(session_id="x" * 129), "config.session_id"),
    ],
    ids=str,
)
async def test_bad_field_is_refused_by_its_path(shared: FakeSystem, bad: Config, field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await shared.speech.Synthesize(synthesis_pb2.SynthesizeRequest(config=bad, text="One."))

    assert failure.value.code() is INVALID
    assert violated_field(failure.value) == field


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
    assert violated_field(failure.value) == "text"


async def test_parameters_go_to_the_stage_that_declares_them(shared: FakeSystem) -> None:
    await shared.speech.Synthesize(
        request("One.", sampling=Sampling(temperature=0.5, is_greedy=True), render=Render(steps=7, policy="whole"))
    )

    gpt, s2mel, vocoder = (shared.stages[name].opens[-1] for name in ("gpt", "s2mel", "vocoder"))
    assert dict(gpt.params) == {"temperature": 0.5, "greedy": 1.0}
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
    assert list(model.capabilities) == ["emotion_vector", "emotion_voice"]
    assert [stage.name for stage in model.stages] == ["gpt", "s2mel", "vocoder"]
    assert all(stage.is_serving for stage in model.stages)
    assert model.limits.max_segment_tokens == 40
    assert "temperature" in {parameter.name for parameter in model.parameters}
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await shared.models.Get(models_pb2.GetModelRequest(name="other"))
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
