"""Two real checkpoints behind one gateway: each has workers, defaults and a fate of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.local import LocalSystem
from protos.tts.v1 import (
    models_pb2,
    models_pb2_grpc,
    status_pb2,
    status_pb2_grpc,
    synthesis_pb2,
    synthesis_pb2_grpc,
)
from tests.system.conftest import MODEL_DIR

TEXT = "The old tree stands."
STAGES = ["gpt", "s2mel", "vocoder"]
STARTED_SECONDS = 60


def linked(directory: Path) -> Path:
    """The embedded checkpoint with links for files, and with one voice: the features of more take time."""
    shutil.copytree(Path(MODEL_DIR).resolve(), directory, copy_function=os.symlink)
    for voice in sorted((directory / "voices").iterdir())[1:]:
        voice.unlink()
    return directory


def make_twin(directory: Path) -> Path:
    """The same weights under another name, with other defaults of sampling and policy."""
    path = linked(directory) / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["triptych"]["name"] = "twin"
    config["triptych"]["sampling"]["temperature"] /= 2
    config["triptych"]["policies"]["balanced"]["first_window_codes"] *= 2
    path.unlink()
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    directory = tmp_path_factory.mktemp("models")
    models = [linked(directory / "first"), make_twin(directory / "twin")]
    environment = {"frontend": {"TTS_FRONTEND_VOICE_STORE": str(tmp_path_factory.mktemp("voices"))}}
    system = LocalSystem(model_dirs=models, log_dir="var/test-log/two", environment=environment, threads=1)
    system.start()
    yield system
    # How processes drain is tested elsewhere; seven of them take their time.
    for name in system.processes:
        system.kill(name)


@pytest.fixture(scope="module")
async def channel(pair: LocalSystem) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a gateway that has seen all workers of both models."""
    async with grpc.aio.insecure_channel(pair.address) as connected:
        # Health tells of the default model alone.
        await status_until(connected, lambda told: all(model.is_serving for model in told.models[:2]))
        yield connected


async def status_until(
    channel: grpc.aio.Channel, is_so: Callable[[status_pb2.SystemStatus], bool]
) -> status_pb2.SystemStatus:
    """Ask for the status until it is as wanted."""
    stub: status_pb2_grpc.StatusAsyncStub = status_pb2_grpc.StatusStub(channel)
    async with asyncio.timeout(STARTED_SECONDS):
        while True:
            told = await stub.Get(status_pb2.GetStatusRequest())
            if len(told.models) == 2 and is_so(told):
                return told
            await asyncio.sleep(0.1)


async def speak(channel: grpc.aio.Channel, model: str, **sampling: Any) -> synthesis_pb2.SynthesizeResponse:
    config = synthesis_pb2.SynthesisConfig(
        model=model,
        seed=3,
        sampling=synthesis_pb2.SamplingConfig(**sampling),
        render=synthesis_pb2.RenderConfig(steps=2),
    )
    stub: synthesis_pb2_grpc.TextToSpeechAsyncStub = synthesis_pb2_grpc.TextToSpeechStub(channel)
    return await stub.Synthesize(synthesis_pb2.SynthesizeRequest(config=config, text=TEXT), timeout=60)


async def codes(channel: grpc.aio.Channel, model: str, **sampling: Any) -> list[int]:
    """The codes of the text, without sound."""
    config = synthesis_pb2.SynthesisConfig(model=model, seed=3, sampling=synthesis_pb2.SamplingConfig(**sampling))
    stub: synthesis_pb2_grpc.TextToSpeechAsyncStub = synthesis_pb2_grpc.TextToSpeechStub(channel)
    request = synthesis_pb2.AnalyzeRequest(config=config, text=TEXT, with_codes=True)
    return list((await stub.Analyze(request, timeout=60)).segments[0].codes)


async def test_both_are_listed_with_defaults_of_their_own(channel: grpc.aio.Channel) -> None:
    stub: models_pb2_grpc.ModelsAsyncStub = models_pb2_grpc.ModelsStub(channel)
    first, twin = (await stub.List(models_pb2.ListModelsRequest())).models
    temperatures = [
        parameter.default_value
        for model in (first, twin)
        for parameter in model.parameters
        if parameter.name == "temperature"
    ]

    assert [(model.name, model.is_default) for model in (first, twin)] == [("mini", True), ("twin", False)]
    assert first.revision != twin.revision
    assert temperatures[0] == pytest.approx(2 * temperatures[1])
    assert (await stub.Get(models_pb2.GetModelRequest())).name == "mini"
    assert await stub.Get(models_pb2.GetModelRequest(name="twin")) == twin


async def test_status_tells_both_with_three_workers_each(pair: LocalSystem, channel: grpc.aio.Channel) -> None:
    told = await status_until(channel, lambda _: True)
    workers = {
        model.name: [worker.address for stage in model.stages for worker in stage.workers] for model in told.models
    }

    assert told.is_serving
    assert [[stage.name for stage in model.stages] for model in told.models] == [STAGES, STAGES]
    modules = ("gpt_worker", "s2mel_worker", "vocoder_worker")
    assert workers == {
        "mini": [pair.addresses[name] for name in modules],
        "twin": [pair.addresses[f"{name}@2"] for name in modules],
    }


async def test_each_speaks_by_its_name_at_once_with_the_other(channel: grpc.aio.Channel) -> None:
    unnamed, first, twin = await asyncio.gather(*(speak(channel, model) for model in ("", "mini", "twin")))

    assert [answer.utterance.model for answer in (unnamed, first, twin)] == ["mini", "mini", "twin"]
    assert first.utterance.model_revision == unnamed.utterance.model_revision != twin.utterance.model_revision
    assert first.audio == unnamed.audio != twin.audio
    assert len(twin.audio) > first.sample_rate_hz


async def test_the_models_own_sampling_holds_where_a_request_is_silent(channel: grpc.aio.Channel) -> None:
    own = await asyncio.gather(*(codes(channel, model) for model in ("mini", "twin")))
    same = await asyncio.gather(*(codes(channel, model, temperature=1.0) for model in ("mini", "twin")))

    assert own[0] != own[1]
    # The weights are the same ones, and so is the rest of what decides the codes.
    assert same[0] == same[1]


async def test_unknown_model_is_answered_with_both_names(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="mini, twin") as failure:
        await speak(channel, "triplet")

    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_twin_goes_on_when_the_default_models_gpt_is_gone(
    pair: LocalSystem, channel: grpc.aio.Channel
) -> None:
    before = (await speak(channel, "twin")).audio
    await asyncio.to_thread(pair.kill, "gpt_worker")
    told = await status_until(channel, lambda told: not told.models[0].is_serving)
    after = (await speak(channel, "twin")).audio
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await speak(channel, "mini")
    # The typeshed stubs leave its methods out.
    health: Any = health_pb2_grpc.HealthStub(channel)
    names = ("stage.gpt", "stage.s2mel", "tts.v1.TextToSpeech", "readiness")
    statuses = [(await health.Check(health_pb2.HealthCheckRequest(service=name))).status for name in names]

    assert after == before
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not told.is_serving
    assert told.models[1].is_serving
    states = [worker.state for model in told.models for stage in model.stages for worker in stage.workers]
    assert states == [status_pb2.WORKER_STATE_LOST, *[status_pb2.WORKER_STATE_SERVING] * 5]
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    # These speak of the default model; the gateway itself is ready for what else it serves.
    assert statuses == [not_serving, serving, not_serving, serving]
