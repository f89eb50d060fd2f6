"""The command `triptych`, run as users run it, against the real system."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import soundfile
from triptych import AsyncClient

from bench.local import LocalSystem
from tests import command
from tests.system.conftest import LONG_TEXT, TEXT, WORKERS

QUICK = ("--steps", "2", "--seed", "7")


@pytest.mark.parametrize(
    ("encoding", "subtype"),
    [("linear16", "PCM_16"), ("wav", "PCM_16"), ("float32", "FLOAT"), ("mulaw", "ULAW"), ("alaw", "ALAW")],
)
async def test_every_encoding_becomes_a_wav(system: LocalSystem, tmp_path: Path, encoding: str, subtype: str) -> None:
    path = tmp_path / "a.wav"
    options = (*QUICK, "--encoding", encoding, "--sample-rate", "16000", "--tail-ms", "50")
    outcome = await command.run(system.address, "say", TEXT, "-o", str(path), *options)

    assert outcome.code == 0, outcome.stderr
    info = soundfile.info(str(path))
    assert (info.subtype, info.samplerate, info.channels) == (subtype, 16000, 1)
    samples, _ = soundfile.read(path)
    assert samples.std() > 1e-3
    assert abs(samples[-700:]).max() < 1e-3, "the silence that was asked for"
    assert f"{len(samples) / 16000:.2f} s of speech" in outcome.stderr


async def test_a_file_and_a_pipe_get_the_same(system: LocalSystem, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    outcome = await command.run(system.address, "say", TEXT, "--stdout", "-o", str(path), *QUICK)

    assert outcome.code == 0, outcome.stderr
    assert len(outcome.stdout) > 20_000
    assert path.read_bytes() == outcome.stdout


async def test_text_is_spoken_while_it_is_written(system: LocalSystem) -> None:
    process = await command.start(system.address, "say", "--stdout", "--quiet", *QUICK)
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{LONG_TEXT} {LONG_TEXT} And".encode())
    assert await asyncio.wait_for(process.stdout.readexactly(4000), 60), "while the text goes on"
    process.stdin.write(b" the end.")
    process.stdin.close()
    assert await asyncio.wait_for(process.stdout.read(), 60)
    assert await process.wait() == 0


async def test_a_dry_run_covers_the_text(system: LocalSystem) -> None:
    outcome = await command.run(system.address, "say", "--dry-run=codes", "--json", LONG_TEXT, *QUICK)

    assert outcome.code == 0, outcome.stderr
    analysis = json.loads(outcome.stdout)
    assert (analysis["language"], analysis["utterance"]["seed"]) == ("en", 7)
    segments = analysis["segments"]
    assert (segments[0]["text_span"]["start"], segments[-1]["text_span"]["end"]) == (0, len(LONG_TEXT))
    assert all(segment["tokens"] and segment["codes"] for segment in segments)
    shown = await command.run(system.address, "say", "--dry-run", TEXT)
    assert TEXT in shown.stdout.decode()


async def test_what_the_model_cannot_do_is_one_line(system: LocalSystem, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    outcome = await command.run(system.address, "say", TEXT, "-o", str(path), "--instruction", "softly")

    assert outcome.code == 1
    assert outcome.stderr.startswith("triptych: CAPABILITY_MISSING: ")
    assert "config.instruction" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not path.exists()


async def test_health_and_models_tell_of_the_system(system: LocalSystem) -> None:
    health = await command.run(system.address, "health", "--json")
    assert health.code == 0, health.stderr
    (model,) = json.loads(health.stdout)["models"]
    assert [f"{stage['name']}_worker" for stage in model["stages"]] == list(WORKERS)
    assert all(worker["state"] == "serving" for stage in model["stages"] for worker in stage["workers"])
    models = (await command.run(system.address, "models")).stdout.decode()
    for word in ("(default)", "reference", "linear16", "config.render.steps", "22050 Hz"):
        assert word in models


async def test_the_default_voice_is_told(system: LocalSystem) -> None:
    async with AsyncClient(system.address, timeout=60) as client:
        default = await client.voices.default()
    outcome = await command.run(system.address, "voices", "default", "--json")
    assert json.loads(outcome.stdout)["name"] == default.name
    assert (await command.run(system.address, "voices", "default", default.name)).code == 0


async def test_a_benchmark_measures_the_system(system: LocalSystem) -> None:
    options = ("--seconds", "12", "--streams", "1", "--text", "Good morning.", "--json")
    outcome = await command.run(system.address, "bench", *options)

    assert outcome.code == 0, outcome.stderr
    answer = json.loads(outcome.stdout)
    assert answer["seconds"] < 20
    assert list(answer["devices"]) == ["gpt", "s2mel", "vocoder"]
    (load,) = answer["loads"]
    assert (load["streams"], load["failed"]) == (1, 0)
    assert load["audio_seconds"] > 0
    assert load["first_audio_p50_ms"] > 0
