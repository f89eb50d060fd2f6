"""Processes that drain, die and come back, on a system of their own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from triptych import AsyncClient, IoError, Speech

from bench.local import LocalSystem
from tests.system.conftest import LONG_TEXT, MODEL_DIR, QUICK, TEXT


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that are sent to it, by service."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Any]] = defaultdict(list)

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            names = [item.value.string_value for item in resource.resource.attributes if item.key == "service.name"]
            for scope in resource.scope_spans:
                self.spans[names[0]].extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, str]]:
    servicer = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"http://127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture(scope="module")
def fragile(collector: tuple[Collector, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """A second system; who breaks it mends it."""
    prefixes = {
        "gpt_worker": "TTS_GPT_",
        "s2mel_worker": "TTS_S2MEL_",
        "vocoder_worker": "TTS_VOCODER_",
        "frontend": "TTS_FRONTEND_",
    }
    environment = {name: {f"{prefix}OTLP_ENDPOINT": collector[1]} for name, prefix in prefixes.items()}
    environment["frontend"]["TTS_FRONTEND_VOICE_STORE"] = str(tmp_path_factory.mktemp("voices"))
    with LocalSystem(MODEL_DIR, log_dir="var/test-log/fragile", environment=environment, threads=1) as running:
        yield running


async def speak(system: LocalSystem, text: str = TEXT) -> Speech:
    async with AsyncClient(system.address, timeout=60) as client:
        return await client.synthesize(text, seed=7, render=QUICK)


async def until_health(address: str, name: str, status: int) -> None:
    """Watch a health name until it has a status."""
    async with asyncio.timeout(30), grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(service=name)):
            if answer.status == status:
                return


async def test_another_system_gives_the_same_samples(system: LocalSystem, fragile: LocalSystem) -> None:
    one, two = await speak(system), await speak(fragile)

    assert one.utterance.model_revision == two.utterance.model_revision
    assert np.array_equal(one.samples, two.samples)


async def test_a_killed_worker_fails_its_callers_and_comes_back(fragile: LocalSystem) -> None:
    before = await speak(fragile)
    async with AsyncClient(fragile.address, timeout=60) as client:
        # Of so many segments the GPT has most before it when the first audio comes.
        stream = client.synthesize_stream(" ".join([LONG_TEXT] * 6), seed=1, render=QUICK)
        await anext(stream)
        await asyncio.to_thread(fragile.kill, "gpt_worker")
        with pytest.raises(IoError) as lost:
            async for _ in stream:
                pass
    assert lost.value.stage == "gpt"
    await until_health(fragile.address, "stage.gpt", health_pb2.HealthCheckResponse.NOT_SERVING)
    await until_health(fragile.address, "tts.v1.TextToSpeech", health_pb2.HealthCheckResponse.NOT_SERVING)
    await until_health(fragile.address, "readiness", health_pb2.HealthCheckResponse.SERVING)

    await asyncio.to_thread(fragile.restart, "gpt_worker")
    await until_health(fragile.address, "tts.v1.TextToSpeech", health_pb2.HealthCheckResponse.SERVING)
    after = await speak(fragile)

    assert np.array_equal(before.samples, after.samples)


@pytest.mark.parametrize("name", ["vocoder_worker", "frontend"])
async def test_sigterm_lets_running_utterances_finish(fragile: LocalSystem, name: str) -> None:
    async with AsyncClient(fragile.address, timeout=60) as client:
        stream = client.synthesize_stream(LONG_TEXT, seed=1, render=QUICK)
        first = await anext(stream)
        process = fragile.processes[name]
        assert process.process is not None
        os.kill(process.process.pid, signal.SIGTERM)
        await until_health(process.address, "readiness", health_pb2.HealthCheckResponse.NOT_SERVING)
        rest = [chunk async for chunk in stream]
    code = await asyncio.to_thread(process.process.wait, 30)
    await asyncio.to_thread(fragile.restart, name)
    await until_health(fragile.address, "tts.v1.TextToSpeech", health_pb2.HealthCheckResponse.SERVING)

    assert first.samples.size
    assert rest[-1].is_last
    assert code == 0


async def test_one_trace_holds_a_span_of_every_stage_with_an_event_per_chunk(
    fragile: LocalSystem, collector: tuple[Collector, str]
) -> None:
    """The processes send their spans at the latest when they end, so this test comes last."""
    speech = await speak(fragile)
    codes = await asyncio.to_thread(fragile.stop)
    spans = collector[0].spans

    assert set(codes.values()) == {0}
    mine = [
        span
        for span in spans["frontend"]
        if any(item.value.string_value == speech.utterance.utterance_id for item in span.attributes)
    ]
    [trace] = {span.trace_id for span in mine}
    stages = {span.name: span for span in spans["frontend"] if span.trace_id == trace}
    for stage in ("gpt", "s2mel", "vocoder"):
        assert len(stages[f"stage {stage}"].events) > 0
        worker = [span for span in spans[f"{stage}_worker"] if span.trace_id == trace]
        assert [span.parent_span_id for span in worker if span.name.endswith("Run")] == [
            stages[f"stage {stage}"].span_id
        ]
