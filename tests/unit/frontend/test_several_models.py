"""One gateway, several models of different shapes, the same code for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import models_pb2, status_pb2, synthesis_pb2
from services.common import tensors
from services.common.checkpoint import CheckpointError
from services.common.errors import StageFailedError
from services.common.health import HealthBoard
from services.frontend.__main__ import build_gateway
from services.frontend.models import load_models
from services.frontend.settings import FrontendSettings
from services.frontend.speaking import chunks
from services.frontend.workers.topology import Topology
from tests.fakes.stage_worker import (
    BOOK_TOKENS,
    SAMPLE_RATE,
    SAMPLES_PER_CODE,
    TALKER_RATE,
    describe,
    expected_codes,
    expected_pcm,
)
from tests.fakes.system import FakeSystem, fake_system, token_ids
from tests.fakes.voices import create, recording, upload
from tests.unit.frontend.conftest import error_info, fade_out, heard, request

SHAPES = {
    "three": ("gpt", "s2mel", "vocoder"),
    "two": ("talker", "codec"),
    "one": ("everything",),
}


@pytest.fixture(scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FakeSystem]:
    abouts = [describe(stage, model=model) for model, stages in SHAPES.items() for stage in stages]
    async with fake_system(tmp_path_factory.mktemp("models"), abouts=abouts) as started:
        yield started


async def test_every_shape_speaks_through_the_same_gateway(system: FakeSystem) -> None:
    three, two, one = await asyncio.gather(
        *(system.speech.Synthesize(request("One two.", model=name)) for name in SHAPES)
    )

    assert three.audio == one.audio == heard([3, 4], 7)
    assert {three.sample_rate_hz, one.sample_rate_hz} == {SAMPLE_RATE}
    assert two.audio == fade_out(expected_pcm([3, 4], 7, samples_per_code=SAMPLES_PER_CODE), TALKER_RATE)
    assert two.sample_rate_hz == TALKER_RATE
    assert [len(answer.timings.compute_ms) for answer in (three, two, one)] == [3, 2, 1]
    assert [answer.segments[0].codes for answer in (three, two, one)] == [8, 8, 0]
    assert [answer.timings.first_token_ms > 0 for answer in (three, two, one)] == [True, True, False]


async def test_request_without_a_model_gets_the_default_one(system: FakeSystem) -> None:
    assert (await system.speech.Synthesize(request("One."))).utterance.model == "three"


async def test_unknown_model_is_refused_with_those_that_are_served(system: FakeSystem) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="three, two, one") as failure:
        await system.speech.Synthesize(request("One.", model="four"))

    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(failure.value)["reason"] == "MODEL_NOT_FOUND"


async def test_named_speaker_and_instruction_reach_the_stage_that_takes_them(system: FakeSystem) -> None:
    answer = await system.speech.Synthesize(request("One.", model="two", voice="bob", instruction="softly"))
    talker, codec = system.stages["talker"].opens[-1], system.stages["codec"].opens[-1]

    assert (talker.speaker, talker.instruction) == ("bob", "softly")
    assert (codec.speaker, codec.instruction) == ("", "")
    assert answer.utterance.voice_id == "bob"
    answer = await system.speech.Synthesize(request("One.", model="two"))
    assert answer.utterance.voice_id == system.stages["talker"].opens[-1].speaker == "ada"


@pytest.mark.parametrize("model", ["two", "one"])
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"voice": "anna"}, "config.voice"),
        ({"recording": synthesis_pb2.ReferenceRecording(audio=b"x")}, "config.recording"),
    ],
)
async def test_model_without_reference_voices_refuses_recordings(
    system: FakeSystem, model: str, fields: dict[str, object], path: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await system.speech.Synthesize(request("One.", model=model, **fields))

    info = error_info(failure.value)
    assert (info["reason"], info["capability"], info["field"]) == ("CAPABILITY_MISSING", "voice_reference", path)


async def test_unknown_voice_is_answered_with_the_models_own(system: FakeSystem) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="ada, bob") as failure:
        await system.speech.Synthesize(request("One.", model="two", voice="nobody"))
    assert error_info(failure.value)["reason"] == "VOICE_NOT_FOUND"


async def test_models_say_what_each_can_do(system: FakeSystem) -> None:
    models = {model.name: model for model in (await system.models.List(models_pb2.ListModelsRequest())).models}

    assert list(models) == ["three", "two", "one"]
    assert [model.is_default for model in models.values()] == [True, False, False]
    assert list(models["two"].capabilities) == ["instruction"]
    assert list(models["two"].speakers) == ["ada", "bob"]
    assert list(models["two"].voice_modes) == [models_pb2.VOICE_MODE_NAMED]
    assert list(models["one"].voice_modes) == []


async def test_status_tells_every_model_stage_and_worker(system: FakeSystem) -> None:
    status = await system.status.Get(status_pb2.GetStatusRequest())

    assert status.is_serving
    assert status.version
    assert status.uptime_seconds > 0
    assert (status.queue_depth, status.max_queue) == (0, 12)
    assert {model.name: [stage.name for stage in model.stages] for model in status.models} == {
        name: list(stages) for name, stages in SHAPES.items()
    }
    worker = status.models[0].stages[0].workers[0]
    assert worker.address.startswith("127.0.0.1:")
    assert worker.state == status_pb2.WORKER_STATE_SERVING
    assert (worker.device, worker.provider, worker.dtype) == ("none", "arithmetic", "float32")
    assert (worker.memory_used_bytes, worker.memory_total_bytes) == (1 << 20, 1 << 30)
    assert (worker.slots, worker.free_slots) == (2, 2)


async def test_status_tells_draining_and_lost_workers(tmp_path: Path) -> None:
    async with fake_system(tmp_path) as system:
        changed = system.gateway.topology.changed
        system.stages["gpt"].behaviour.is_draining = True
        await system.stops["s2mel"].stop(grace=None)
        await changed.until(lambda: system.links[0].is_draining and not system.links[1].is_up)
        status = await system.status.Get(status_pb2.GetStatusRequest())

        states = {stage.name: stage.workers[0].state for stage in status.models[0].stages}
        assert states == {
            "gpt": status_pb2.WORKER_STATE_DRAINING,
            "s2mel": status_pb2.WORKER_STATE_LOST,
            "vocoder": status_pb2.WORKER_STATE_SERVING,
        }
        assert not status.is_serving
        assert not status.models[0].is_serving


async def test_stage_health_is_the_default_models_or_that_of_whoever_has_the_stage(tmp_path: Path) -> None:
    abouts = [describe(stage, model=model) for model, stages in SHAPES.items() for stage in stages]
    async with fake_system(tmp_path, abouts=abouts) as system:
        serving = health_pb2.HealthCheckResponse.SERVING
        assert system.board.statuses()["stage.talker"] == serving
        await system.stops["talker"].stop(grace=None)
        await system.gateway.topology.changed.until(lambda: not system.gateway.topology.is_serving("two"))

        assert system.board.statuses()["stage.talker"] != serving
        assert system.board.statuses()["stage.gpt"] == serving
        assert system.board.statuses()["tts.v1.TextToSpeech"] == serving
        assert (await system.speech.Synthesize(request("One."))).audio


def test_worker_of_a_model_that_is_not_served_is_left_alone() -> None:
    topology = Topology("mine", on_health=HealthBoard().set)
    link = type("Link", (), {"about": describe("everything", model="other"), "takes_streams": True, "slots": 1})
    topology.watch([link])  # type: ignore[list-item]
    topology.update()

    assert topology.pipelines() == []
    assert not topology.is_serving()


def test_wrong_checkpoint_among_the_further_models_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no-such-model"):
        load_models([Path("models/mini"), tmp_path / "no-such-model"])
    with pytest.raises(CheckpointError, match=r"models/mini: .*'mini' too.*`name` under `triptych`"):
        load_models([Path("models/mini"), Path("models/mini")])


def test_float_samples_are_clipped_and_scaled() -> None:
    pcm = tensors.to_proto({"pcm": np.asarray([0.0, 1.0, -1.0, 2.0, -3.0, 0.5], np.float32)})

    assert chunks.pcm(stage_pb2.Chunk(tensors=pcm), "codec").tolist() == [0, 32767, -32767, 32767, -32767, 16384]


@pytest.mark.parametrize("bad", [np.asarray([0.0, np.nan], np.float32), np.zeros(3), np.zeros((2, 2), np.int16)])
def test_what_is_no_sample_is_the_stages_failure(bad: np.typing.NDArray[np.generic]) -> None:
    with pytest.raises(StageFailedError, match="codec"):
        chunks.pcm(stage_pb2.Chunk(tensors=tensors.to_proto({"pcm": bad})), "codec")


def test_codes_of_one_instant_stay_together_whatever_the_order_of_the_axes() -> None:
    by_book = stage_pb2.Edge(tensors=[stage_pb2.TensorSpec(name="codes", dtype="int32", shape=[2, -1])])
    values = np.asarray([[1, 2, 3], [11, 12, 13]], np.int32)
    across = stage_pb2.Chunk(tensors=tensors.to_proto({"codes": values}))
    along = stage_pb2.Chunk(tensors=tensors.to_proto({"codes": np.ascontiguousarray(values.T)}))

    assert chunks.codes(across, by_book, "talker") == [1, 11, 2, 12, 3, 13]
    assert chunks.codes(along, BOOK_TOKENS, "talker") == [1, 11, 2, 12, 3, 13]


async def test_codes_of_several_codebooks_are_told(system: FakeSystem) -> None:
    config = synthesis_pb2.SynthesisConfig(model="two", seed=7)
    answer = await system.speech.Analyze(synthesis_pb2.AnalyzeRequest(config=config, text="One two.", with_codes=True))
    first = expected_codes(token_ids("One two."), 7)

    assert answer.segments[0].codebooks == 2
    assert list(answer.segments[0].codes) == [code + book for code in first for book in (0, 1)]
    assert answer.usage.codes == len(first)


def second_model_with_references() -> list[stage_pb2.DescribeResponse]:
    """The default model, and another one that takes recordings too."""
    other = describe("everything", model="other", revision="r2")
    other.voice_modes.append(stage_pb2.VOICE_MODE_REFERENCE)
    other.conditions.add(name="style", dtype="float32", shape=[4])
    other.voice_steps.add(name="tone", takes=["audio_24000"], gives=["style"], max_audio_seconds=15)
    return [*(describe(stage) for stage in SHAPES["three"]), other]


async def test_features_of_a_new_voice_are_ready_for_every_model(tmp_path: Path) -> None:
    async with fake_system(tmp_path, abouts=second_model_with_references()) as system:
        await create(system.voices, upload("bea", recording()))
        other = system.stages["everything"]
        before = list(other.encoded)
        await system.speech.Synthesize(request("One.", model="other", voice="bea"))

        assert before.count("tone") >= 1
        assert other.encoded == before


async def test_features_of_files_are_ready_for_every_model(tmp_path: Path) -> None:
    async with fake_system(tmp_path, abouts=second_model_with_references()) as system:
        await system.gateway.voices.prepare()
        other = system.stages["everything"]
        before = list(other.encoded)
        await system.speech.Synthesize(request("One.", model="other", voice="anna"))

        assert before == other.encoded == ["tone"]


async def test_a_voice_is_registered_although_another_model_cannot_have_it_yet(tmp_path: Path) -> None:
    async with fake_system(tmp_path, abouts=second_model_with_references()) as system:
        await system.gateway.voices.prepare()
        await system.stops["everything"].stop(grace=None)
        await system.gateway.topology.changed.until(lambda: not system.gateway.topology.is_serving("other"))
        with capture_logs() as lines:
            created = await create(system.voices, upload("bea", recording()))

        told = [line for line in lines if line["event"] == "voice_not_ready"]
        assert [(line["voice_id"], line["model"], line["reason"]) for line in told] == [
            (created.id, "other", "STAGE_LOST")
        ]
        assert "bea" not in str(told)


async def test_a_voice_that_the_default_model_cannot_have_is_not_registered(tmp_path: Path) -> None:
    async with fake_system(tmp_path, abouts=second_model_with_references()) as system:
        await system.gateway.voices.prepare()
        await system.stops["s2mel"].stop(grace=None)
        await system.gateway.topology.changed.until(lambda: not system.gateway.topology.is_serving())
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await create(system.voices, upload("bea", recording()))

        assert error_info(failure.value)["reason"] == "STAGE_LOST"
        assert system.gateway.voices.names() == ["anna"]


def test_health_of_the_default_models_stages_is_known_from_the_start(tmp_path: Path) -> None:
    """Probes of orchestrators ask before the first worker has been seen."""
    board = HealthBoard()
    build_gateway(FrontendSettings(model_dir=Path("models/mini"), voice_store=tmp_path), board)

    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    assert {board.status(f"stage.{stage}") for stage in SHAPES["three"]} == {not_serving}
