"""tts.v1.Voices: translates between the public messages and the voices."""

from __future__ import annotations

from collections.abc import AsyncIterator

from protos.tts.v1 import voices_pb2, voices_pb2_grpc
from services.common.errors import InvalidRequestError, TooLargeError
from services.common.reasons import Reason
from services.frontend.door import Door
from services.frontend.recordings.decoder import RecordingLimits
from services.frontend.servicers import convert
from services.frontend.servicers.calls import Context
from services.frontend.servicers.messages import next_message
from services.frontend.voices.record import StoredVoice, check_said
from services.frontend.voices.registry import Voices

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
        return self._to_proto(await self._voices.get(request.name))

    async def List(self, request: voices_pb2.ListVoicesRequest, context: Context) -> voices_pb2.ListVoicesResponse:
        return voices_pb2.ListVoicesResponse(voices=[self._to_proto(each) for each in await self._voices.entries()])

    async def Update(self, request: voices_pb2.UpdateVoiceRequest, context: Context) -> voices_pb2.Voice:
        voice = await self._voices.update(
            request.name,
            new_name=request.new_name if request.HasField("new_name") else None,
            transcript=request.transcript if request.HasField("transcript") else None,
            description=request.description if request.HasField("description") else None,
        )
        return self._to_proto(voice)

    async def Delete(self, request: voices_pb2.DeleteVoiceRequest, context: Context) -> voices_pb2.DeleteVoiceResponse:
        await self._voices.delete(request.name)
        return voices_pb2.DeleteVoiceResponse()

    async def GetDefault(self, request: voices_pb2.GetDefaultVoiceRequest, context: Context) -> voices_pb2.Voice:
        return self._to_proto(await self._voices.default())

    async def SetDefault(self, request: voices_pb2.SetDefaultVoiceRequest, context: Context) -> voices_pb2.Voice:
        return self._to_proto(await self._voices.set_default(request.name))

    def _to_proto(self, voice: StoredVoice) -> voices_pb2.Voice:
        return convert.voice_to_proto(voice, is_default=voice.name == self._voices.default_name())

    async def _create(self, requests: Uploads) -> voices_pb2.Voice:
        first = await self._next(requests)
        if first is None or first.WhichOneof("message") != "config":
            raise InvalidRequestError("the first message must be config", field="config", reason=Reason.CONFIG_MISSING)
        config = first.config
        check_said(config.name, config.transcript, config.description)
        voice = await self._voices.create(
            config.name,
            await self._upload(requests),
            transcript=config.transcript,
            description=config.description,
        )
        return self._to_proto(voice)

    async def _upload(self, requests: Uploads) -> bytes:
        """Join the pieces; what is over the limit is refused while it arrives, not after."""
        pieces, num_bytes = [], 0
        while (request := await self._next(requests)) is not None:
            kind = request.WhichOneof("message")
            if kind is None:
                raise InvalidRequestError("a message holds nothing", field="message", reason=Reason.MESSAGE_EMPTY)
            if kind != "audio":
                raise InvalidRequestError(
                    "config may come only once, as the first message", field="config", reason=Reason.CONFIG_REPEATED
                )
            num_bytes += len(request.audio)
            if num_bytes > self._limits.max_bytes:
                raise TooLargeError(
                    f"the recording has more than the {self._limits.max_bytes} bytes that are allowed", field="audio"
                )
            pieces.append(request.audio)
        return b"".join(pieces)

    async def _next(self, requests: Uploads) -> voices_pb2.CreateVoiceRequest | None:
        return await next_message(requests, idle_seconds=self._limits.upload_idle_seconds)
