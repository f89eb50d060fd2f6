"""One running system for the whole suite, and a second one for the tests that hurt it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from triptych import Client

from bench.local import LocalSystem
from protos.tts.stages.v1 import stage_pb2, stage_pb2_grpc

MODEL_DIR = os.environ.get("TEST_MODEL_DIR", "models/mini")
WORKERS = ("gpt_worker", "s2mel_worker", "vocoder_worker")

TEXT = "The quick brown fox jumps over the lazy dog."
LONG_TEXT = (
    "She opened the window and looked at the garden, where the old tree was standing in the rain, "
    "and then she closed it again without saying a word to anybody."
)
SLOTS = 3


def _environment() -> dict[str, dict[str, str]]:
    prefixes = {"gpt_worker": "TTS_GPT_", "s2mel_worker": "TTS_S2MEL_", "vocoder_worker": "TTS_VOCODER_"}
    return {name: {f"{prefix}SLOTS": str(SLOTS)} for name, prefix in prefixes.items()}


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """Shared by all tests that leave it as it was."""
    environment = _environment()
    environment["frontend"] = {
        "TTS_FRONTEND_VOICES_DIR": str(tmp_path_factory.mktemp("voices")),
        "TTS_FRONTEND_MAX_QUEUE": "2",
        "TTS_FRONTEND_TEXT_IDLE_SECONDS": "0.3",
    }
    with LocalSystem(MODEL_DIR, log_dir="var/test-log/shared", environment=environment, log_level="debug") as running:
        yield running


@pytest.fixture
async def client(system: LocalSystem) -> AsyncIterator[Client]:
    async with Client(system.address, timeout=60) as connected:
        yield connected


@pytest.fixture
async def channel(system: LocalSystem) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(system.address) as connected:
        yield connected


class Slots:
    """Reads the workers' free slots from their heartbeats."""

    def __init__(self, beats: dict[str, Any]) -> None:
        self._beats = beats

    async def until_free(self) -> dict[str, int]:
        """Wait until no worker has anything in work; give how many engine steps each took meanwhile."""
        steps = {}
        for name, beats in self._beats.items():
            first = beat = await beats.read()
            while beat.free_slots < beat.slots:
                beat = await beats.read()
            steps[name] = beat.engine_steps - first.engine_steps
        return steps

    async def until_taken(self) -> None:
        """Wait until every worker has something in work."""
        for beats in self._beats.values():
            while (await beats.read()).free_slots == SLOTS:
                pass


@pytest.fixture
async def slots(system: LocalSystem) -> AsyncIterator[Slots]:
    async with AsyncExitStack() as stack:
        beats: dict[str, Any] = {}
        for name in WORKERS:
            connected = await stack.enter_async_context(grpc.aio.insecure_channel(system.addresses[name]))
            beats[name] = stage_pb2_grpc.StageStub(connected).Heartbeat(stage_pb2.HeartbeatRequest())
        async with asyncio.timeout(60):
            yield Slots(beats)
        for call in beats.values():
            call.cancel()
