"""One running system for the whole suite, and a second one for the tests that hurt it."""

from __future__ import annotations

import asyncio
import os
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from triptych import AsyncClient, Render

from bench.local import LocalSystem
from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc

MODEL_DIR = os.environ.get("TEST_MODEL_DIR", "models/mini")
WORKERS = ("gpt_worker", "s2mel_worker", "vocoder_worker")

TEXT = "The quick brown fox jumps over the lazy dog."
LONG_TEXT = (
    "She opened the window and looked at the garden, where the old tree was standing in the rain, "
    "and then she closed it again without saying a word to anybody."
)
QUICK = Render(steps=2)
"""Two steps of the solver: cheap, and as good as many where nobody listens to the sound."""
SLOTS = 3
QUEUE = 2


def _environment() -> dict[str, dict[str, str]]:
    prefixes = {"gpt_worker": "TTS_GPT_", "s2mel_worker": "TTS_S2MEL_", "vocoder_worker": "TTS_VOCODER_"}
    return {name: {f"{prefix}SLOTS": str(SLOTS)} for name, prefix in prefixes.items()}


@pytest.fixture(scope="session")
def voices_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's directory of the shared system; empty at its start."""
    return tmp_path_factory.mktemp("operators-voices")


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, voices_dir: Path) -> Iterator[LocalSystem]:
    """Shared by all tests that leave it as it was."""
    environment = _environment()
    environment["frontend"] = {
        "TTS_FRONTEND_VOICE_STORE": str(tmp_path_factory.mktemp("voices")),
        "TTS_FRONTEND_VOICES_DIR": str(voices_dir),
        "TTS_FRONTEND_MAX_QUEUE": str(QUEUE),
        "TTS_FRONTEND_TEXT_IDLE_SECONDS": "0.3",
    }
    # One thread each: three workers of two threads would fight over two cores.
    started = LocalSystem(
        MODEL_DIR, log_dir="var/test-log/shared", environment=environment, threads=1, log_level="debug"
    )
    with started as running:
        yield running


def metrics_of(system: LocalSystem, name: str) -> str:
    """The Prometheus text of a process."""
    with urllib.request.urlopen(f"http://{system.processes[name].metrics}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


@pytest.fixture
async def client(system: LocalSystem) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(system.address, timeout=60) as connected:
        yield connected


@pytest.fixture
async def channel(system: LocalSystem) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(system.address) as connected:
        yield connected


class Slots:
    """Reads the workers' free slots from their heartbeats; each look starts afresh, for old beats wait in a stream."""

    def __init__(self, stubs: dict[str, Any]) -> None:
        self._stubs = stubs

    async def until_free(self) -> dict[str, int]:
        """Wait until no worker has anything in work; give how many engine steps each took meanwhile."""
        return {name: await self._watch(stub, lambda free: free == SLOTS) for name, stub in self._stubs.items()}

    async def until_taken(self) -> None:
        """Wait until every worker has something in work."""
        for stub in self._stubs.values():
            await self._watch(stub, lambda free: free < SLOTS)

    async def _watch(self, stub: Any, condition: Callable[[int], bool]) -> int:
        beats = stub.Heartbeat(stage_pb2.HeartbeatRequest())
        async with asyncio.timeout(60):
            first = beat = await beats.read()
            while not condition(beat.free_slots):
                beat = await beats.read()
        beats.cancel()
        return int(beat.engine_steps - first.engine_steps)


@pytest.fixture
async def slots(system: LocalSystem) -> AsyncIterator[Slots]:
    async with AsyncExitStack() as stack:
        stubs: dict[str, Any] = {}
        for name in WORKERS:
            connected = await stack.enter_async_context(grpc.aio.insecure_channel(system.addresses[name]))
            stubs[name] = stage_pb2_grpc.StageStub(connected)
        yield Slots(stubs)
