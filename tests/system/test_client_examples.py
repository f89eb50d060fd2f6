"""The client's examples, run as their users run them."""

from __future__ import annotations

import asyncio
import os
import sys
import wave
from asyncio.subprocess import PIPE
from pathlib import Path

import numpy as np
from triptych import AsyncClient

from bench.local import LocalSystem
from tests.system.conftest import LONG_TEXT, QUICK

EXAMPLES = Path("client/examples")


async def run(system: LocalSystem, example: str, *arguments: str | Path) -> str:
    """Return what the example printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / example), *map(str, arguments)),
        env=os.environ | {"TRIPTYCH_ADDRESS": system.address},
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(120):
        stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    return stdout.decode()


def assert_is_speech(path: Path) -> None:
    with wave.open(str(path)) as file:
        steps = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert len(steps) > file.getframerate() / 2
    assert (steps / 32768).std() > 1e-3


async def test_a_text_is_spoken_to_a_file(system: LocalSystem, tmp_path: Path) -> None:
    printed = await run(system, "speak_to_file.py", "Good morning to all of you.", tmp_path / "a.wav")

    assert "seed 7" in printed
    assert_is_speech(tmp_path / "a.wav")


async def test_tokens_are_spoken_as_they_come(system: LocalSystem, tmp_path: Path) -> None:
    printed = await run(system, "speak_tokens.py", tmp_path / "a.wav")

    assert printed.startswith("first audio after ")
    assert "are spoken" in printed
    assert_is_speech(tmp_path / "a.wav")


async def test_a_recording_lends_its_voice(system: LocalSystem, tmp_path: Path) -> None:
    async with AsyncClient(system.address, timeout=60) as client:
        known = await client.voices.list()
        (await client.synthesize(LONG_TEXT, seed=1, render=QUICK)).save(tmp_path / "me.wav")
        printed = await run(system, "clone_voice.py", tmp_path / "me.wav", tmp_path / "glad.wav")

        assert " with voice " in printed
        assert await client.voices.list() == known, "the recording is not kept"
    assert_is_speech(tmp_path / "glad.wav")
