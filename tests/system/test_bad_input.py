"""Nonsense, one row each: a typed error that names the field, and a system that still serves."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.tts.v1 import models_pb2, models_pb2_grpc, synthesis_pb2, synthesis_pb2_grpc, voices_pb2, voices_pb2_grpc
from tests.system.conftest import Slots

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND

Config = synthesis_pb2.SynthesisConfig


@dataclass(frozen=True)
class Row:
    """A request and what it gets."""

    code: grpc.StatusCode
    at: str
    """The field that the error names; part of it is enough."""
    reason: str
    request: dict[str, Any] = field(default_factory=dict)


def sampling(**values: Any) -> dict[str, Any]:
    return {"text": "Hello.", "config": Config(sampling=synthesis_pb2.SamplingConfig(**values))}


def render(**values: Any) -> dict[str, Any]:
    return {"text": "Hello.", "config": Config(render=synthesis_pb2.RenderConfig(**values))}


def emotion(**values: Any) -> dict[str, Any]:
    return {"text": "Hello.", "config": Config(emotion=synthesis_pb2.Emotion(**values))}


REQUESTS = {
    "no text": Row(INVALID, "text", "TEXT_EMPTY", {}),
    "white space": Row(INVALID, "text", "TEXT_EMPTY", {"text": " \n\t "}),
    "punctuation": Row(INVALID, "text", "TEXT_NOT_SPEAKABLE", {"text": "?!... --- ,,,"}),
    "emoji": Row(INVALID, "text", "TEXT_NOT_SPEAKABLE", {"text": "\U0001f600\U0001f680"}),
    "a NUL": Row(INVALID, "text", "TEXT_BAD_CHARACTER", {"text": "Hello\0there"}),
    **{
        f"U+{ord(character):04X}": Row(INVALID, "text", "TEXT_BAD_CHARACTER", {"text": f"Hello{character}there"})
        for character in ("\x07", "\x08", "\x1b", "\x7f", "\x9f")
    },
    "too long": Row(INVALID, "text", "TEXT_TOO_LONG", {"text": "word " * 2000}),
    "100 kB without a space": Row(INVALID, "text", "TEXT_TOO_LONG", {"text": "a" * 100_000}),
    "another language": Row(INVALID, "text", "LANGUAGE_NOT_SUPPORTED", {"text": "今天天气很好，我们去公园散步吧。"}),
    "unknown voice": Row(NOT_FOUND, "voice", "VOICE_NOT_FOUND", {"text": "Hello.", "config": Config(voice="nobody")}),
    "a path as voice": Row(
        NOT_FOUND, "voice", "VOICE_NOT_FOUND", {"text": "Hello.", "config": Config(voice="../../etc/passwd")}
    ),
    "unknown model": Row(NOT_FOUND, "model", "NOT_FOUND", {"text": "Hello.", "config": Config(model="gpt-9")}),
    "temperature 0": Row(INVALID, "temperature", "OUT_OF_RANGE", sampling(temperature=0.0)),
    "temperature 99": Row(INVALID, "temperature", "OUT_OF_RANGE", sampling(temperature=99.0)),
    "temperature NaN": Row(INVALID, "temperature", "OUT_OF_RANGE", sampling(temperature=float("nan"))),
    "top_p 2": Row(INVALID, "top_p", "OUT_OF_RANGE", sampling(top_p=2.0)),
    "top_k too large": Row(INVALID, "top_k", "OUT_OF_RANGE", sampling(top_k=10**6)),
    "penalty 0": Row(INVALID, "repetition_penalty", "OUT_OF_RANGE", sampling(repetition_penalty=0.0)),
    "no codes": Row(INVALID, "max_codes", "OUT_OF_RANGE", sampling(max_codes=0)),
    "too many codes": Row(INVALID, "max_codes", "OUT_OF_RANGE", sampling(max_codes=10**6)),
    "no steps": Row(INVALID, "steps", "OUT_OF_RANGE", render(steps=0)),
    "too many steps": Row(INVALID, "steps", "OUT_OF_RANGE", render(steps=1000)),
    "cfg_rate -1": Row(INVALID, "cfg_rate", "OUT_OF_RANGE", render(cfg_rate=-1.0)),
    "unknown policy": Row(INVALID, "policy", "OUT_OF_RANGE", render(policy="warp")),
    "gap of a minute": Row(INVALID, "segment_gap_ms", "OUT_OF_RANGE", render(segment_gap_ms=60_000)),
    "tokens per segment": Row(INVALID, "max_segment_tokens", "OUT_OF_RANGE", render(max_segment_tokens=1)),
    "emotion above 1": Row(INVALID, "emotion", "OUT_OF_RANGE", emotion(vector=synthesis_pb2.EmotionVector(happy=1.5))),
    "emotion infinite": Row(
        INVALID, "emotion", "OUT_OF_RANGE", emotion(vector=synthesis_pb2.EmotionVector(sad=float("inf")))
    ),
    "emotion weight": Row(
        INVALID, "weight", "OUT_OF_RANGE", emotion(vector=synthesis_pb2.EmotionVector(happy=1), weight=2.0)
    ),
    "emotion voice": Row(NOT_FOUND, "emotion", "VOICE_NOT_FOUND", emotion(voice="nobody")),
}


def encoded(audio: np.ndarray[Any, Any], rate: int = 22050, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, rate, **({"format": "WAV"} | options))
    return file.getvalue()


def tone(seconds: float, rate: int = 22050, channels: int = 1) -> np.ndarray[Any, Any]:
    wave = 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate)) / rate)
    return np.tile(wave[:, None], (1, channels)).astype(np.float32)


def zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", b"\0" * 50_000_000)
    return file.getvalue()


def with_nan() -> np.ndarray[Any, Any]:
    audio = tone(3)
    audio[100] = np.nan
    return audio


def half(recording: bytes) -> bytes:
    return recording[: len(recording) // 2]


RECORDINGS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "nothing": ("RECORDING_EMPTY", lambda: b""),
    "text": ("RECORDING_NOT_AUDIO", lambda: b"this is not audio" * 100),
    "random bytes": ("RECORDING_NOT_AUDIO", lambda: np.random.default_rng(1).bytes(100_000)),
    "silence": ("RECORDING_SILENT", lambda: encoded(np.zeros(44100, np.float32))),
    "0.1 s": ("RECORDING_TOO_SHORT", lambda: encoded(tone(0.1))),
    "10 minutes": ("RECORDING_TOO_LONG", lambda: encoded(tone(600, 8000), 8000, format="FLAC")),
    "not a number": ("RECORDING_NOT_FINITE", lambda: encoded(with_nan(), subtype="FLOAT")),
    "infinite": ("RECORDING_NOT_FINITE", lambda: encoded(np.full(44100, np.inf, np.float32), subtype="FLOAT")),
    "beginning of a WAV": ("RECORDING_NOT_AUDIO", lambda: encoded(tone(3))[:40]),
    "beginning of a FLAC": ("RECORDING_NOT_AUDIO", lambda: encoded(tone(3), format="FLAC")[:60]),
    "beginning of an MP3": ("RECORDING_NOT_AUDIO", lambda: encoded(tone(3), format="MP3")[:200]),
    "beginning of an OGG": ("RECORDING_NOT_AUDIO", lambda: encoded(tone(3), format="OGG")[:60]),
    "half a WAV": ("RECORDING_TRUNCATED", lambda: half(encoded(tone(4)))),
    "half a FLAC": ("RECORDING_TRUNCATED", lambda: half(encoded(tone(4), format="FLAC"))),
    "half an MP3": ("RECORDING_TRUNCATED", lambda: half(encoded(tone(4), format="MP3"))),
    "half an OGG": ("RECORDING_TRUNCATED", lambda: half(encoded(tone(4), format="OGG"))),
    "zip bomb": ("RECORDING_NOT_AUDIO", zip_bomb),
    "21 MB": ("TOO_LARGE", lambda: encoded(tone(1)) + b"\0" * 21_000_000),
}

ACCEPTED: dict[str, Callable[[], bytes]] = {
    "WAV 16 bit": lambda: encoded(tone(2), subtype="PCM_16"),
    "WAV 24 bit": lambda: encoded(tone(2), subtype="PCM_24"),
    "WAV 32 bit": lambda: encoded(tone(2), subtype="PCM_32"),
    "WAV float": lambda: encoded(tone(2), subtype="FLOAT"),
    "FLAC": lambda: encoded(tone(2), format="FLAC"),
    "MP3": lambda: encoded(tone(2), format="MP3"),
    "OGG": lambda: encoded(tone(2), format="OGG"),
    "8 kHz": lambda: encoded(tone(2, 8000), 8000),
    "192 kHz": lambda: encoded(tone(2, 192_000), 192_000),
    "8 channels": lambda: encoded(tone(2, channels=8)),
    "1 s": lambda: encoded(tone(1.0)),
    "60 s": lambda: encoded(tone(60)),
}


def fields_of(error: grpc.aio.AioRpcError) -> tuple[str, list[str]]:
    """Reason and fields of an error's details."""
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert isinstance(raw, bytes)
    status = status_pb2.Status.FromString(raw)
    info, fields = error_details_pb2.ErrorInfo(), []
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            detail.Unpack(bad)
            fields += [violation.field for violation in bad.field_violations]
    return info.reason, fields


async def still_serves(channel: grpc.aio.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service="tts.v1.TextToSpeech"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_bad_request_names_its_field(channel: grpc.aio.Channel, name: str) -> None:
    row = REQUESTS[name]
    stub = synthesis_pb2_grpc.TextToSpeechStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.Synthesize(synthesis_pb2.SynthesizeRequest(**row.request))
    reason, fields = fields_of(failed.value)

    assert failed.value.code() == row.code, failed.value.details()
    assert reason == row.reason
    assert any(row.at in one for one in fields), fields
    assert failed.value.details()
    await still_serves(channel)


async def test_control_characters_that_are_white_space_are_taken(channel: grpc.aio.Channel) -> None:
    stub = synthesis_pb2_grpc.TextToSpeechStub(channel)
    text = "Hello\tthere,\r\nyou\x0band\x0cyou\x85too."
    speech = await stub.Synthesize(synthesis_pb2.SynthesizeRequest(text=text, config=render(steps=2)["config"]))

    assert speech.audio
    assert speech.segments[-1].text_end == len(text)


async def send_bytes(channel: grpc.aio.Channel, method: str, request: bytes) -> None:
    """Call a method of TextToSpeech with one message, as it is, and read the first answer."""
    path, raw = f"/tts.v1.TextToSpeech/{method}", {"request_serializer": bytes, "response_deserializer": bytes}
    match method:
        case "Synthesize":
            await channel.unary_unary(path, **raw)(request)
        case "SynthesizeStream":
            await channel.unary_stream(path, **raw)(request).read()
        case _:
            await channel.stream_stream(path, **raw)(iter([request])).read()


@pytest.mark.parametrize("method", ["Synthesize", "SynthesizeStream", "StreamingSynthesize"])
async def test_a_lone_surrogate_on_the_wire_is_refused(channel: grpc.aio.Channel, method: str) -> None:
    """The client's own messages cannot carry one: these are bytes that are no UTF-8."""
    text = b"Hi \xed\xa0\x80"
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await send_bytes(channel, method, b"\x12" + bytes([len(text)]) + text)

    assert failed.value.code() == INVALID
    assert fields_of(failed.value)[0] == "NOT_DECODABLE"
    await still_serves(channel)


def stream_of(*messages: synthesis_pb2.StreamingSynthesizeRequest) -> AsyncIterator[Any]:
    async def requests() -> AsyncIterator[Any]:
        for message in messages:
            yield message

    return requests()


Request = synthesis_pb2.StreamingSynthesizeRequest

STREAMS: dict[str, tuple[str, str, list[synthesis_pb2.StreamingSynthesizeRequest]]] = {
    "first message without config": ("CONFIG_MISSING", "config", [Request(text="Hello there.")]),
    "config twice": (
        "CONFIG_REPEATED",
        "config",
        [Request(config=Config()), Request(text="Hello there. "), Request(config=Config())],
    ),
    "no message": ("CONFIG_MISSING", "config", []),
    "an empty message": ("CONFIG_MISSING", "config", [Request()]),
    "an empty message later": ("MESSAGE_EMPTY", "message", [Request(config=Config()), Request()]),
    "config alone": ("TEXT_NOT_SPEAKABLE", "text", [Request(config=Config())]),
    "nothing to speak": ("TEXT_NOT_SPEAKABLE", "text", [Request(config=Config()), Request(text="...")]),
    "a control character": ("TEXT_BAD_CHARACTER", "text", [Request(config=Config()), Request(text="Hello\x1b.")]),
    "a bad config": ("OUT_OF_RANGE", "config.render.steps", [Request(config=render(steps=0)["config"])]),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_a_bad_stream_is_refused(channel: grpc.aio.Channel, slots: Slots, name: str) -> None:
    reason, at, messages = STREAMS[name]
    stub = synthesis_pb2_grpc.TextToSpeechStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in stub.StreamingSynthesize(stream_of(*messages)):
            pass

    assert failed.value.code() == INVALID, failed.value.details()
    assert fields_of(failed.value) == (reason, [at])
    await slots.until_free()
    await still_serves(channel)


def upload(name: str, recording: bytes) -> AsyncIterator[voices_pb2.CreateVoiceRequest]:
    async def requests() -> AsyncIterator[voices_pb2.CreateVoiceRequest]:
        yield voices_pb2.CreateVoiceRequest(config=voices_pb2.CreateVoiceConfig(name=name))
        for start in range(0, len(recording), 1 << 20):
            yield voices_pb2.CreateVoiceRequest(audio=recording[start : start + (1 << 20)])

    return requests()


@pytest.mark.parametrize("name", RECORDINGS)
async def test_a_bad_recording_is_refused(channel: grpc.aio.Channel, name: str) -> None:
    reason, recording = RECORDINGS[name]
    stub = voices_pb2_grpc.VoicesStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.Create(upload("bad", recording()))
    listed = await stub.List(voices_pb2.ListVoicesRequest())

    assert failed.value.code() == INVALID, failed.value.details()
    assert fields_of(failed.value) == (reason, ["audio"])
    assert "bad" not in [voice.name for voice in listed.voices]
    await still_serves(channel)


@pytest.mark.parametrize("name", ACCEPTED)
async def test_a_good_recording_is_taken(channel: grpc.aio.Channel, name: str) -> None:
    stub = voices_pb2_grpc.VoicesStub(channel)
    voice = await stub.Create(upload("good", ACCEPTED[name]()))
    await stub.Delete(voices_pb2.DeleteVoiceRequest(name="good"))

    assert voice.used_seconds == pytest.approx(min(voice.duration_seconds, 15.0), abs=0.01)
    if voice.duration_seconds > 15:
        assert any("15" in warning for warning in voice.warnings)


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "ü"])
async def test_a_bad_name_of_a_voice_is_refused(channel: grpc.aio.Channel, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await voices_pb2_grpc.VoicesStub(channel).Create(upload(name, encoded(tone(2))))

    assert failed.value.code() == INVALID
    assert fields_of(failed.value)[1] == ["config.name"]


async def test_a_name_that_is_taken_and_one_that_is_not_there(channel: grpc.aio.Channel) -> None:
    stub = voices_pb2_grpc.VoicesStub(channel)
    await stub.Create(upload("taken", encoded(tone(2))))
    with pytest.raises(grpc.aio.AioRpcError) as taken:
        await stub.Create(upload("taken", encoded(tone(3))))
    await stub.Delete(voices_pb2.DeleteVoiceRequest(name="taken"))
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await stub.Get(voices_pb2.GetVoiceRequest(name="taken"))
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await models_pb2_grpc.ModelsStub(channel).Get(models_pb2.GetModelRequest(name="none"))

    assert taken.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert missing.value.code() == NOT_FOUND
    assert unknown.value.code() == NOT_FOUND
