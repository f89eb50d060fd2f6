"""Gateways over fake stages, and short ways to call them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protos.tts.v1 import synthesis_pb2
from tests.fakes.system import FakeSystem, fake_system


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[FakeSystem]:
    async with fake_system(tmp_path) as started:
        yield started


def config(**fields: object) -> synthesis_pb2.SynthesisConfig:
    return synthesis_pb2.SynthesisConfig(**{"seed": 7, **fields})  # type: ignore[arg-type]


def request(text: str, **fields: object) -> synthesis_pb2.SynthesizeRequest:
    return synthesis_pb2.SynthesizeRequest(text=text, config=config(**fields))
