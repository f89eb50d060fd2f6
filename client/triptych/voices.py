"""Registered voices, and recordings that become voices when they are first used."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from protos.tts.v1 import voices_pb2, voices_pb2_grpc
from triptych.errors import ErrorDetails, InvalidRequestError, NotFoundError, translated
from triptych.options import VoiceLike
from triptych.writing import CallOverError, end_writing, write

if TYPE_CHECKING:
    from protos.tts.v1.voices_pb2_grpc import VoicesAsyncStub

_PIECE_BYTES = 64 * 1024
_AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus"})


@dataclass(frozen=True)
class Voice:
    """A named recording of a speaker."""

    name: str
    id: str
    """SHA-256 of the recording in hex."""
    duration_seconds: float
    used_seconds: float
    """How much of the recording's beginning is used."""
    sample_rate_hz: int
    channels: int
    warnings: tuple[str, ...]
    """What is wrong with the recording but does not prevent its use."""


class Voices:
    """The server's voices."""

    def __init__(self, channel: grpc.aio.Channel, address: str, timeout: float | None) -> None:
        self._timeout = timeout
        self._stub: VoicesAsyncStub = voices_pb2_grpc.VoicesStub(channel)
        self._address = address

    async def create(self, name: str, recording: str | PathLike[str] | bytes) -> Voice:
        """Register the recording in a file, or its bytes, under `name`.

        Raises:
            AlreadyExistsError: if another recording has this name.
            InvalidRequestError: if it cannot serve as a voice, or cannot be read.
        """
        data = recording if isinstance(recording, bytes) else _read(Path(recording))

        call = self._stub.Create(timeout=self._timeout)
        try:
            # A server that refuses early ends the call: its status is read below.
            with suppress(CallOverError):
                config = voices_pb2.CreateVoiceConfig(name=name)
                await write(call, voices_pb2.CreateVoiceRequest(config=config))
                for start in range(0, len(data), _PIECE_BYTES):
                    piece = data[start : start + _PIECE_BYTES]
                    await write(call, voices_pb2.CreateVoiceRequest(audio=piece))
                await end_writing(call)
            with translated(self._address):
                return _from_proto(await call)
        finally:
            call.cancel()

    async def get(self, name: str) -> Voice:
        """Return the voice of this name or id."""
        with translated(self._address):
            request = voices_pb2.GetVoiceRequest(name=name)
            return _from_proto(await self._stub.Get(request, timeout=self._timeout))

    async def list(self) -> tuple[Voice, ...]:
        with translated(self._address):
            response = await self._stub.List(voices_pb2.ListVoicesRequest(), timeout=self._timeout)
        return tuple(_from_proto(voice) for voice in response.voices)

    async def delete(self, name: str) -> None:
        """Remove the name; the recording goes with its last name."""
        with translated(self._address):
            await self._stub.Delete(voices_pb2.DeleteVoiceRequest(name=name), timeout=self._timeout)

    async def resolve(self, voice: VoiceLike) -> str:
        """Return the name for a request; a recording is registered unless the server has it.

        A string is a path if it has a folder in it, or names an existing file and ends like an
        audio file; else it is the name or id of a voice.
        """
        if isinstance(voice, str) and not _is_path(voice):
            return voice
        data = voice if isinstance(voice, bytes) else _read(Path(voice))
        name = name_of_recording(data)
        try:
            return (await self.get(name)).name
        except NotFoundError:
            return (await self.create(name, data)).name


def name_of_recording(data: bytes) -> str:
    """Return the name under which an unnamed recording is registered."""
    return "sha256-" + hashlib.sha256(data).hexdigest()[:40]


def _is_path(voice: str) -> bool:
    path = Path(voice)
    return "/" in voice or os.sep in voice or (path.suffix.lower() in _AUDIO_SUFFIXES and path.is_file())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"cannot read the recording {path}: {error.strerror}"
        raise InvalidRequestError(message, ErrorDetails(field="voice")) from None


def _from_proto(voice: voices_pb2.Voice) -> Voice:
    return Voice(
        name=voice.name,
        id=voice.id,
        duration_seconds=voice.duration_seconds,
        used_seconds=voice.used_seconds,
        sample_rate_hz=voice.sample_rate_hz,
        channels=voice.channels,
        warnings=tuple(voice.warnings),
    )
