"""Recordings that no voice can be made of, wherever they come from: uploads, requests, the operator's directory."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile

from bench.local import LocalSystem
from protos.tts.v1 import synthesis_pb2, synthesis_pb2_grpc, voices_pb2, voices_pb2_grpc
from tests.reasons.failures import Failure, failure_of, failure_of_messages
from tests.system.calls import CALLS, Config, still_serves
from tests.system.conftest import TEXT, Slots

Create, Update = voices_pb2.CreateVoiceRequest, voices_pb2.UpdateVoiceRequest
Recording = synthesis_pb2.ReferenceRecording
Samples = np.ndarray[Any, Any]
RECORDING = "config.recording"


def encoded(audio: Samples, rate: int = 22050, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, rate, **({"format": "WAV"} | options))
    return file.getvalue()


def tone(seconds: float, rate: int = 22050, channels: int = 1) -> Samples:
    wave = 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate)) / rate)
    return np.tile(wave[:, None], (1, channels)).astype(np.float32)


def zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", b"\0" * 50_000_000)
    return file.getvalue()


def with_nan() -> Samples:
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
    "7999 Hz": ("RECORDING_BAD_RATE", lambda: encoded(tone(2, 7_999), 7_999)),
    "9 channels": ("RECORDING_BAD_CHANNELS", lambda: encoded(tone(2, channels=9))),
    "21 MB": ("RECORDING_TOO_LARGE", lambda: encoded(tone(1)) + b"\0" * 21_000_000),
}

INLINE: dict[str, tuple[str, str, Callable[[], Recording]]] = {
    "nothing": ("RECORDING_EMPTY", f"{RECORDING}.audio", Recording),
    "text": ("RECORDING_NOT_AUDIO", f"{RECORDING}.audio", lambda: Recording(audio=b"this is not audio" * 100)),
    "silence": (
        "RECORDING_SILENT",
        f"{RECORDING}.audio",
        lambda: Recording(audio=encoded(np.zeros(44100, np.float32))),
    ),
    "0.1 s": ("RECORDING_TOO_SHORT", f"{RECORDING}.audio", lambda: Recording(audio=encoded(tone(0.1)))),
    "61 s": ("RECORDING_TOO_LONG", f"{RECORDING}.audio", lambda: Recording(audio=encoded(tone(61, 8000), 8000))),
    "half a WAV": ("RECORDING_TRUNCATED", f"{RECORDING}.audio", lambda: Recording(audio=half(encoded(tone(4))))),
    "11 MB": ("RECORDING_TOO_LARGE", f"{RECORDING}.audio", lambda: Recording(audio=bytes(11_000_000))),
    "a transcript": (
        "CAPABILITY_MISSING",
        f"{RECORDING}.transcript",
        lambda: Recording(audio=encoded(tone(2)), transcript="Hello."),
    ),
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

SAID: dict[str, tuple[str, str, voices_pb2.CreateVoiceConfig]] = {
    **{
        f"name {name!r}"[:20]: ("VOICE_NAME_INVALID", "config.name", voices_pb2.CreateVoiceConfig(name=name))
        for name in ("", "a b", "../x", "x" * 65, "ü", "..", "0" * 64)
    },
    "transcript too long": (
        "OUT_OF_RANGE",
        "config.transcript",
        voices_pb2.CreateVoiceConfig(name="said", transcript="x" * 2001),
    ),
    "description too long": (
        "OUT_OF_RANGE",
        "config.description",
        voices_pb2.CreateVoiceConfig(name="said", description="x" * 501),
    ),
}


def upload(config: voices_pb2.CreateVoiceConfig, recording: bytes) -> Iterator[voices_pb2.CreateVoiceRequest]:
    yield Create(config=config)
    for start in range(0, len(recording), 1 << 20):
        yield Create(audio=recording[start : start + (1 << 20)])


async def fail_upload(channel: grpc.aio.Channel, config: voices_pb2.CreateVoiceConfig, recording: bytes) -> Failure:
    stub: Any = voices_pb2_grpc.VoicesStub(channel)
    return await failure_of_messages(stub.Create(), upload(config, recording))


async def names(channel: grpc.aio.Channel) -> list[str]:
    listed = await voices_pb2_grpc.VoicesStub(channel).List(voices_pb2.ListVoicesRequest())
    return [voice.name for voice in listed.voices]


@pytest.mark.parametrize("name", RECORDINGS)
async def test_a_bad_upload_is_refused(channel: grpc.aio.Channel, slots: Slots, name: str) -> None:
    reason, recording = RECORDINGS[name]
    failure = await fail_upload(channel, voices_pb2.CreateVoiceConfig(name="bad"), recording())

    assert (failure.status, failure.reason) == ("INVALID_ARGUMENT", reason), failure.message
    assert failure.violations == ("audio",)
    assert "bad" not in await names(channel)
    await still_serves(channel, slots)


@pytest.mark.parametrize("name", INLINE)
async def test_a_bad_recording_in_a_request_is_refused_by_every_call(
    channel: grpc.aio.Channel, slots: Slots, name: str
) -> None:
    reason, at, recording = INLINE[name]
    config, before = Config(recording=recording()), await names(channel)
    for call in CALLS.values():
        failure = await call(channel, config, "Hello there.")
        assert (failure.status, failure.reason) == ("INVALID_ARGUMENT", reason), failure.message
        assert failure.violations == (at,)
    assert await names(channel) == before
    await still_serves(channel, slots)


@pytest.mark.parametrize("name", ACCEPTED)
async def test_a_good_recording_is_taken(channel: grpc.aio.Channel, name: str) -> None:
    stub = voices_pb2_grpc.VoicesStub(channel)
    voice = await stub.Create(upload(voices_pb2.CreateVoiceConfig(name="good"), ACCEPTED[name]()))
    await stub.Delete(voices_pb2.DeleteVoiceRequest(name="good"))

    assert voice.used_seconds == pytest.approx(min(voice.duration_seconds, 15.0), abs=0.01)
    warned = voices_pb2.VOICE_WARNING_REASON_LONG in {warning.reason for warning in voice.warnings}
    assert warned == (voice.duration_seconds > 15)


@pytest.mark.parametrize("name", SAID)
async def test_what_may_not_be_said_of_a_voice_is_refused(channel: grpc.aio.Channel, name: str) -> None:
    reason, at, config = SAID[name]
    failure = await fail_upload(channel, config, encoded(tone(2)))

    assert (failure.status, failure.reason, failure.violations) == ("INVALID_ARGUMENT", reason, (at,))


async def test_names_that_are_taken_not_there_or_not_the_callers(channel: grpc.aio.Channel) -> None:
    stub = voices_pb2_grpc.VoicesStub(channel)
    config = voices_pb2.CreateVoiceConfig(name="taken")
    voice = await stub.Create(upload(config, encoded(tone(2))))
    failures = [
        await fail_upload(channel, config, encoded(tone(3))),
        await failure_of(stub.Update(Update(name="taken", new_name="amber"))),
        await failure_of(stub.Update(Update(name="taken", new_name="a b"))),
        await failure_of(stub.Update(Update(name="taken", description="x" * 501))),
        await failure_of(stub.Delete(voices_pb2.DeleteVoiceRequest(name=voice.id))),
    ]
    await stub.Delete(voices_pb2.DeleteVoiceRequest(name="taken"))
    failures += [
        await failure_of(stub.Get(voices_pb2.GetVoiceRequest(name="taken"))),
        await failure_of(stub.Get(voices_pb2.GetVoiceRequest())),
        await failure_of(stub.SetDefault(voices_pb2.SetDefaultVoiceRequest(name="taken"))),
        await failure_of(stub.Update(Update(name="amber", description="mine"))),
        await failure_of(stub.Delete(voices_pb2.DeleteVoiceRequest(name="amber"))),
    ]

    assert [(each.status, each.reason, *each.violations) for each in failures] == [
        ("ALREADY_EXISTS", "VOICE_NAME_TAKEN", "config.name"),
        ("ALREADY_EXISTS", "VOICE_NAME_TAKEN", "new_name"),
        ("INVALID_ARGUMENT", "VOICE_NAME_INVALID", "new_name"),
        ("INVALID_ARGUMENT", "OUT_OF_RANGE", "description"),
        ("INVALID_ARGUMENT", "FIELD_INVALID", "name"),
        ("NOT_FOUND", "VOICE_NOT_FOUND", "name"),
        ("INVALID_ARGUMENT", "FIELD_INVALID", "name"),
        ("NOT_FOUND", "VOICE_NOT_FOUND", "name"),
        ("INVALID_ARGUMENT", "VOICE_READ_ONLY", "name"),
        ("INVALID_ARGUMENT", "VOICE_READ_ONLY", "name"),
    ]


async def until_listed(channel: grpc.aio.Channel, name: str, *, is_listed: bool = True) -> None:
    async with asyncio.timeout(30):
        while (name in await names(channel)) != is_listed:
            await asyncio.sleep(0.05)


async def test_what_is_no_voice_in_the_directory_is_named_in_the_log_and_the_rest_loads(
    system: LocalSystem, channel: grpc.aio.Channel, slots: Slots, voices_dir: Path
) -> None:
    (voices_dir / "notes.txt").write_text("no recording")
    (voices_dir / "noise.wav").write_bytes(b"no recording either" * 100)
    (voices_dir / "silent.wav").write_bytes(encoded(np.zeros(44100, np.float32)))
    (voices_dir / "folder.wav").mkdir()
    (voices_dir / "broken.wav").symlink_to(voices_dir / "nothing")
    (voices_dir / "zoe.wav").write_bytes(encoded(tone(2)))
    await until_listed(channel, "zoe")

    assert {"noise", "silent", "folder", "broken", "notes"}.isdisjoint(await names(channel))
    log = system.processes["frontend"].log.read_text()
    for file in ("notes.txt", "noise.wav", "silent.wav", "folder.wav", "broken.wav"):
        assert file in log
    for voice in ("noise", "zoe.wav", str(voices_dir / "zoe.wav")):
        for call in CALLS.values():
            assert (await call(channel, Config(voice=voice), "Hello there.")).reason == "VOICE_NOT_FOUND"
    (voices_dir / "zoe.wav").unlink()
    await until_listed(channel, "zoe", is_listed=False)
    await still_serves(channel, slots)


async def test_a_file_that_disappears_while_it_speaks_costs_no_sample(
    channel: grpc.aio.Channel, slots: Slots, voices_dir: Path
) -> None:
    (voices_dir / "zora.wav").write_bytes(encoded(tone(2)))
    await until_listed(channel, "zora")
    config = Config(voice="zora", seed=1, render=synthesis_pb2.RenderConfig(steps=2))
    request = synthesis_pb2.SynthesizeRequest(text=TEXT, config=config)
    stub = synthesis_pb2_grpc.TextToSpeechStub(channel)
    expected = (await stub.Synthesize(request)).audio

    chunks = aiter(stub.SynthesizeStream(request))
    audio = (await anext(chunks)).audio
    (voices_dir / "zora.wav").unlink()
    await until_listed(channel, "zora", is_listed=False)
    async for chunk in chunks:
        audio += chunk.audio
    assert audio == expected
    for refuse in CALLS.values():
        assert (await refuse(channel, config, "Hello there.")).reason == "VOICE_NOT_FOUND"
    await still_serves(channel, slots)
