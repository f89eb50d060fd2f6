"""What operators look at: health, reflection by the real tools, logs, metrics."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from triptych import AsyncClient

from bench.local import LocalSystem
from tests.system.conftest import QUICK, TEXT, WORKERS, metrics_of

SECRET = "Nobody may ever read the word marzipan."


async def test_health_names_of_every_process(system: LocalSystem) -> None:
    for name, address in system.addresses.items():
        async with grpc.aio.insecure_channel(address) as channel:
            listed = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest())  # type: ignore[attr-defined]
            names = set(listed.statuses)
            assert {"", "liveness", "readiness", "startup"} <= names
            if name == "frontend":
                stages = {"stage.gpt", "stage.s2mel", "stage.vocoder"}
                assert stages | {"tts.v1.TextToSpeech", "tts.v1.Voices", "tts.v1.Models"} <= names
            else:
                assert "tts.stages.v1.Stage" in names
            assert {status.status for status in listed.statuses.values()} == {1}


async def test_models_say_what_is_served(client: AsyncClient) -> None:
    [model] = await client.models()

    assert model.name == "mini"
    assert model.is_default
    assert [stage.name for stage in model.stages] == ["gpt", "s2mel", "vocoder"]
    assert model.sample_rate_hz == 22050
    assert model == await client.model("mini")


def test_one_utterance_id_is_on_the_logs_of_all_processes_and_no_text(system: LocalSystem) -> None:
    import asyncio

    async def speak() -> str:
        async with AsyncClient(system.address, timeout=60) as client:
            speech = await client.synthesize(SECRET, seed=1, render=QUICK, session_id="session-1")
            assert speech.utterance.session_id == "session-1"
            return speech.utterance.utterance_id

    utterance = asyncio.run(speak())
    traces = set()
    for process in system.processes.values():
        text = Path(process.log).read_text()
        assert "marzipan" not in text
        lines = [json.loads(line) for line in text.splitlines()]
        mine = [line for line in lines if line.get("utterance_id") == utterance]
        assert mine, f"{process.name} logged nothing of the utterance"
        assert {line["session_id"] for line in mine} == {"session-1"}, process.name
        traces |= {line["trace_id"] for line in mine}
    assert len(traces) == 1


def test_metrics_count_what_was_done(system: LocalSystem) -> None:
    for name in WORKERS:
        text = metrics_of(system, name)
        assert "tts_step_seconds_count" in text
        assert "tts_free_slots" in text
    text = metrics_of(system, "frontend")
    for metric in (
        "tts_requests_total",
        "tts_ttfa_seconds",
        "tts_rtf",
        "tts_queue_depth",
        "tts_call_seconds",
    ):
        assert metric in text


@pytest.mark.skipif(shutil.which("grpcurl") is None, reason="grpcurl is not installed")
def test_grpcurl_lists_describes_and_calls_by_reflection(system: LocalSystem) -> None:
    listed = _run("grpcurl", "-plaintext", system.address, "list")
    assert {"tts.v1.TextToSpeech", "tts.v1.Voices", "tts.v1.Models", "grpc.health.v1.Health"} <= set(listed.split())
    described = _run("grpcurl", "-plaintext", system.address, "describe", "tts.v1.TextToSpeech.SynthesizeStream")
    assert "stream .tts.v1.AudioChunk" in described
    request = json.dumps({"text": TEXT, "config": {"seed": "1", "render": {"steps": 2}}})
    answer = json.loads(_run("grpcurl", "-plaintext", "-d", request, system.address, "tts.v1.TextToSpeech/Synthesize"))
    assert answer["segments"]
    stage = _run("grpcurl", "-plaintext", system.addresses["gpt_worker"], "tts.stages.v1.Stage/Describe")
    assert json.loads(stage)["stage"] == "gpt"


@pytest.mark.skipif(shutil.which("ghz") is None, reason="ghz is not installed")
def test_ghz_calls_by_reflection(system: LocalSystem) -> None:
    request = json.dumps({"text": TEXT, "config": {"seed": "1", "render": {"steps": 2}}})
    options = [
        "--insecure",
        "--call",
        "tts.v1.TextToSpeech.SynthesizeStream",
        "-n",
        "2",
        "-c",
        "1",
        "-O",
        "json",
    ]
    report = json.loads(_run("ghz", *options, "-d", request, system.address))

    assert report["statusCodeDistribution"] == {"OK": 2}


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
