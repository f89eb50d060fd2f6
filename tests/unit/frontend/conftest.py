"""Gateways over fake stages, and short ways to call them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from protos.tts.v1 import synthesis_pb2
from services.frontend.audio.fade import fade_samples, faded
from tests.fakes.stage_worker import SAMPLE_RATE, expected_pcm
from tests.fakes.system import FakeSystem, fake_system


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[FakeSystem]:
    async with fake_system(tmp_path) as started:
        yield started


def config(**fields: object) -> synthesis_pb2.SynthesisConfig:
    return synthesis_pb2.SynthesisConfig(**{"seed": 7, **fields})  # type: ignore[arg-type]


def request(text: str, /, **fields: object) -> synthesis_pb2.SynthesizeRequest:
    return synthesis_pb2.SynthesizeRequest(text=text, config=config(**fields))


def heard(ids: list[int], seed: int) -> bytes:
    """The samples of a segment as they are sent: its last ones fade."""
    return fade_out(expected_pcm(ids, seed), SAMPLE_RATE)


def fade_out(pcm: bytes, rate: int) -> bytes:
    samples = np.frombuffer(pcm, np.int16).copy()
    size = min(fade_samples(rate), len(samples))
    samples[len(samples) - size :] = faded(samples[len(samples) - size :])
    return samples.tobytes()


def error_info(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """The metadata of the call's google.rpc.ErrorInfo, with its reason."""
    info = error_details_pb2.ErrorInfo()
    assert _unpack(error, info), "no ErrorInfo"
    return {**info.metadata, "reason": info.reason}


def _unpack(error: grpc.aio.AioRpcError, into: Message) -> bool:
    details = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(details["grpc-status-details-bin"])
    return any(detail.Unpack(into) for detail in status.details)
