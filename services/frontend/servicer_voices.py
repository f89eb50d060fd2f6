"""tts.v1.Voices: translates between the public messages and the voices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from protos.tts.v1 import voices_pb2, voices_pb2_grpc
from services.common.errors import DeadlineError, InvalidRequestError, TooLargeError
from services.frontend import convert
from services.frontend.calls import Context
from services.frontend.door import Door
from services.frontend.recording import RecordingLimits
from services.frontend.voice_store import StoredVoice, check_name
from services.frontend.voices import Voices

Uploads = AsyncIterator[voices_pb2.CreateVoiceRequest]


class VoicesServicer(voices_pb2_grpc.VoicesServicer):
    def __init__(self, voices: Voices, limits: RecordingLimits) -> None:
        self._voices = voices
        self._limits = limits
        self._uploads = Door(limits.max_uploads, "uploads of recordings")

    async def Create(self, request_iterator: Uploads, context: Context) -> voices_pb2.Voice:
        with self._uploads.entered():
            return await self._create(aiter(request_iterator))

    async def Get(self, request: voices_pb2.GetVoiceRequest, context: Context) -> voices_pb2.Voice:
        voice = await self._voices.get(request.name)
        return convert.voice_to_proto(_shown_name(request.name, voice), voice)

    async def List(self, request: voices_pb2.ListVoicesRequest, context: Context) -> voices_pb2.ListVoicesResponse:
        entries = await self._voices.entries()
        return voices_pb2.ListVoicesResponse(voices=[convert.voice_to_proto(name, voice) for name, voice in entries])

    async def Delete(self, request: voices_pb2.DeleteVoiceRequest, context: Context) -> voices_pb2.DeleteVoiceResponse:
        await self._voices.delete(request.name)
        return voices_pb2.DeleteVoiceResponse()

    async def _create(self, requests: Uploads) -> voices_pb2.Voice:
        first = await self._next(requests)
        if first is None or first.WhichOneof("message") != "config":
            raise InvalidRequestError("the first message must be config", field="config", reason="CONFIG_MISSING")
        name = first.config.name
        check_name(name, field_path="config.name")
        voice = await self._voices.create(name, await self._upload(requests))
        return convert.voice_to_proto(name, voice)

    async def _upload(self, requests: Uploads) -> bytes:
        """Join the pieces; what is over the limit is refused while it arrives, not after."""
        pieces, num_bytes = [], 0
        while (request := await self._next(requests)) is not None:
            if request.WhichOneof("message") != "audio":
                raise InvalidRequestError(
                    "config may come only once, as the first message", field="config", reason="CONFIG_REPEATED"
                )
            num_bytes += len(request.audio)
            if num_bytes > self._limits.max_bytes:
                raise TooLargeError(
                    f"the recording has more than the {self._limits.max_bytes} bytes that are allowed", field="audio"
                )
            pieces.append(request.audio)
        return b"".join(pieces)

    async def _next(self, requests: Uploads) -> voices_pb2.CreateVoiceRequest | None:
        idle_seconds = self._limits.upload_idle_seconds
        try:
            async with asyncio.timeout(idle_seconds):
                return await anext(requests, None)
        except TimeoutError:
            raise DeadlineError(f"no message came for {idle_seconds:g} s", reason="STREAM_IDLE") from None


def _shown_name(asked: str, voice: StoredVoice) -> str:
    return asked if asked in voice.names else voice.names[0]
