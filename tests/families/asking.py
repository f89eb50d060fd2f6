"""Short ways to ask a gateway, and what is to be heard."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterable

import grpc
import numpy as np
import numpy.typing as npt
import soundfile
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from protos.tts.v1 import synthesis_pb2, voices_pb2
from services.common.arrays import Array
from services.frontend.audio.fade import fade_samples, faded
from tests.families import duet

Samples = npt.NDArray[np.int16]
Message = synthesis_pb2.StreamingSynthesizeRequest
SEED = 7


def tone(hertz: float, *, level: float = 0.3) -> bytes:
    """A recording of a second and a half."""
    seconds = np.arange(24_000 * 3 // 2) / 24_000
    file = io.BytesIO()
    soundfile.write(file, (level * np.sin(2 * np.pi * hertz * seconds)).astype(np.float32), 24_000, format="FLAC")
    return file.getvalue()


RECORDING = tone(220.0)


def recording(transcript: str = "la la la", *, audio: bytes = RECORDING) -> synthesis_pb2.ReferenceRecording:
    return synthesis_pb2.ReferenceRecording(audio=audio, transcript=transcript)


def config(**fields: object) -> synthesis_pb2.SynthesisConfig:
    """Of a request for chime, or for duet in the voice of a recording."""
    if fields.get("model") == duet.MODEL and "voice" not in fields:
        fields = {"recording": recording(), **fields}
    return synthesis_pb2.SynthesisConfig(**{"seed": SEED, **fields})  # type: ignore[arg-type]


def request(text: str, /, **fields: object) -> synthesis_pb2.SynthesizeRequest:
    return synthesis_pb2.SynthesizeRequest(text=text, config=config(**fields))


def analyze(text: str, /, *, with_codes: bool = False, **fields: object) -> synthesis_pb2.AnalyzeRequest:
    return synthesis_pb2.AnalyzeRequest(text=text, config=config(**fields), with_codes=with_codes)


async def messages(config: synthesis_pb2.SynthesisConfig, parts: Iterable[str]) -> AsyncIterator[Message]:
    """A text that is still being written."""
    yield Message(config=config)
    for part in parts:
        await asyncio.sleep(0)
        yield Message(text=part)


async def upload(name: str, audio: bytes, *, transcript: str = "") -> AsyncIterator[voices_pb2.CreateVoiceRequest]:
    yield voices_pb2.CreateVoiceRequest(config=voices_pb2.CreateVoiceConfig(name=name, transcript=transcript))
    yield voices_pb2.CreateVoiceRequest(audio=audio)


def pcm(audio: bytes) -> Samples:
    return np.frombuffer(audio, np.int16)


def heard(samples: Array, rate: int) -> Samples:
    """A segment as it is sent: int16, and its last samples fade."""
    if samples.dtype == np.float32:
        samples = np.rint(samples * 32767)
    sent = samples.astype(np.int16)
    sent[-fade_samples(rate) :] = faded(sent[-fade_samples(rate) :])
    return sent


def error_info(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """The metadata of a failed call's google.rpc.ErrorInfo, with its reason."""
    status = status_pb2.Status.FromString(dict(error.trailing_metadata() or ())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return {**info.metadata, "reason": info.reason}
