"""The server's voices."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protos.tts.v1 import voices_pb2, voices_pb2_grpc
from triptych.connection import Connection
from triptych.enums import name_of
from triptych.errors import ConfigError
from triptych.recording import RecordingLike, VoiceLike, check_name, is_name, load
from triptych.writing import CallOverError, end_writing, write

if TYPE_CHECKING:
    from protos.tts.v1.voices_pb2_grpc import VoicesAsyncStub

_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True)
class VoiceWarning:
    """What is wrong with a recording but does not prevent its use."""

    reason: str
    """``short``, ``long``, ``clipped``, ``noisy`` or ``low_sample_rate``."""
    message: str


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
    warnings: tuple[VoiceWarning, ...]
    source: str
    """``registered``, ``bundled`` (with the model) or ``directory`` (of the operator)."""
    is_default: bool
    transcript: str
    """What is said in the recording."""
    description: str


class AsyncVoices:
    """The server's voices."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub: VoicesAsyncStub = voices_pb2_grpc.VoicesStub(connection.channel)

    async def create(
        self, name: str, recording: RecordingLike, *, transcript: str = "", description: str = ""
    ) -> Voice:
        """Register a recording: the path or the bytes of a file, or a `Recording` of samples.

        Args:
            name: 1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.'.
            recording: A WAV, FLAC, MP3 or Ogg file, or samples.
            transcript: What is said in it; the recording's own when empty.
            description: For people.

        Raises:
            ConfigError: if the name is not allowed, or another recording has it.
            AudioError: if the recording cannot serve as a voice.
            IoError: if it cannot be read.
        """
        loaded = await load(recording)
        config = voices_pb2.CreateVoiceConfig(
            name=name, transcript=transcript or loaded.transcript, description=description
        )

        async def once(left_seconds: float | None) -> voices_pb2.Voice:
            return await self._upload(config, loaded.data, left_seconds)

        return _voice(await self._connection.attempt(once))

    async def get(self, name: str) -> Voice:
        """Return the voice of this name or id."""
        return _voice(await self._connection.call(self._stub.Get, voices_pb2.GetVoiceRequest(name=name)))

    async def list(self) -> tuple[Voice, ...]:
        response = await self._connection.call(self._stub.List, voices_pb2.ListVoicesRequest())
        return tuple(_voice(voice) for voice in response.voices)

    async def update(
        self,
        name: str,
        *,
        new_name: str | None = None,
        transcript: str | None = None,
        description: str | None = None,
    ) -> Voice:
        """Change what is said of a voice, or its name; what is None stays."""
        request = voices_pb2.UpdateVoiceRequest(
            name=name, new_name=new_name, transcript=transcript, description=description
        )
        return _voice(await self._connection.call(self._stub.Update, request))

    async def delete(self, name: str) -> None:
        """Remove the name; the recording goes with its last name."""
        await self._connection.call(self._stub.Delete, voices_pb2.DeleteVoiceRequest(name=name))

    async def default(self) -> Voice:
        """Return the voice of requests that name none."""
        return _voice(await self._connection.call(self._stub.GetDefault, voices_pb2.GetDefaultVoiceRequest()))

    async def set_default(self, name: str) -> Voice:
        """Make the voice of this name or id the one of requests that name none."""
        request = voices_pb2.SetDefaultVoiceRequest(name=name)
        return _voice(await self._connection.call(self._stub.SetDefault, request))

    async def resolve(self, voice: VoiceLike, *, field_path: str = "config.voice") -> str:
        """Return the name of a voice that is given as one, or the id of a recording's (see `of_recording`)."""
        if isinstance(voice, str) and is_name(voice):
            check_name(voice, field_path=field_path)
            return voice
        return (await self.of_recording(voice)).id

    async def of_recording(self, recording: RecordingLike) -> Voice:
        """Return the voice of a recording, whatever its name; one that has none is registered.

        It stays, under a name made of its SHA-256, until it is deleted.

        Raises:
            TtsError: as `create` does.
        """
        loaded = await load(recording)
        digest = hashlib.sha256(loaded.data).hexdigest()
        try:
            return await self.get(digest)
        except ConfigError as error:
            if error.reason != "VOICE_NOT_FOUND":
                raise
        return await self.create(name_of_recording(digest), loaded)

    async def _upload(
        self, config: voices_pb2.CreateVoiceConfig, data: bytes, left_seconds: float | None
    ) -> voices_pb2.Voice:
        call = self._stub.Create(timeout=left_seconds, metadata=self._connection.metadata())
        try:
            # A server that refuses early ends the call: its status is read below.
            with suppress(CallOverError):
                await write(call, voices_pb2.CreateVoiceRequest(config=config))
                for start in range(0, len(data), _PIECE_BYTES):
                    await write(call, voices_pb2.CreateVoiceRequest(audio=data[start : start + _PIECE_BYTES]))
                await end_writing(call)
            return await call
        finally:
            call.cancel()


def name_of_recording(digest: str) -> str:
    """Return the name under which an unnamed recording of this SHA-256 is registered."""
    return "sha256-" + digest[:40]


def _voice(voice: voices_pb2.Voice) -> Voice:
    warnings = (
        VoiceWarning(name_of(voices_pb2.VoiceWarningReason, warning.reason), warning.message)
        for warning in voice.warnings
    )
    return Voice(
        name=voice.name,
        id=voice.id,
        duration_seconds=voice.duration_seconds,
        used_seconds=voice.used_seconds,
        sample_rate_hz=voice.sample_rate_hz,
        channels=voice.channels,
        warnings=tuple(warnings),
        source=name_of(voices_pb2.VoiceSource, voice.source),
        is_default=voice.is_default,
        transcript=voice.transcript,
        description=voice.description,
    )
