"""The library's door: one connection to a server, and every call that it takes."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

import grpc

from protos.tts.v1 import models_pb2, models_pb2_grpc, synthesis_pb2, synthesis_pb2_grpc
from triptych.audio import Audio, Speech, audio_from_proto, speech_from_proto
from triptych.errors import translated
from triptych.health import Health, ask_health
from triptych.models import Model, model_from_proto
from triptych.options import Options, config_to_proto, emotion_of
from triptych.text_stream import Call, Piece, TextStream, unencodable
from triptych.voices import Voices
from triptych.writing import CallOverError, write

if TYPE_CHECKING:
    from protos.tts.v1.models_pb2_grpc import ModelsAsyncStub
    from protos.tts.v1.synthesis_pb2_grpc import TextToSpeechAsyncStub

DEFAULT_ADDRESS = "127.0.0.1:50051"
ADDRESS_VARIABLE = "TRIPTYCH_ADDRESS"

_CHANNEL_OPTIONS = (
    # A unary answer holds a whole speech; gRPC's own limit of 4 MB would be 95 seconds of it.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


class Client:
    """A connection to a server; use it with ``async with``, in one event loop.

    Args:
        address: ``host:port``; by default `TRIPTYCH_ADDRESS`, or 127.0.0.1:50051.
        timeout: Seconds that a call may take; calls that speak take their own.
    """

    def __init__(self, address: str | None = None, *, timeout: float | None = None) -> None:
        self._timeout = timeout
        self.address = address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
        self._channel = grpc.aio.insecure_channel(self.address, options=_CHANNEL_OPTIONS)
        self._speech: TextToSpeechAsyncStub = synthesis_pb2_grpc.TextToSpeechStub(self._channel)
        self._models: ModelsAsyncStub = models_pb2_grpc.ModelsStub(self._channel)
        self.voices = Voices(self._channel, self.address, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    async def synthesize(self, text: str, **options: Unpack[Options]) -> Speech:
        """Speak a short text and wait for all of it.

        Raises:
            TtsError: a subclass of it that says what went wrong.
        """
        request = await self._request(text, options)
        with translated(self.address):
            return speech_from_proto(
                await self._speech.Synthesize(request, timeout=options.get("timeout", self._timeout))
            )

    async def synthesize_stream(self, text: str, **options: Unpack[Options]) -> AsyncGenerator[Audio, None]:
        """Speak a text and yield its audio while it is being made.

        Raises:
            TtsError: while it is iterated over; audio that came before stays good.
        """
        request = await self._request(text, options)
        call = self._speech.SynthesizeStream(request, timeout=options.get("timeout", self._timeout))
        try:
            with translated(self.address):
                async for chunk in call:
                    yield audio_from_proto(chunk)
        finally:
            call.cancel()

    def stream_text(self, pieces: AsyncIterable[Piece], **options: Unpack[Options]) -> TextStream:
        """Speak pieces of a text as they come; `Flush` and `CancelSegment` may be among them.

        Pieces are joined as they are, so a word may be cut in two. The speech ends when
        `pieces` does.
        """

        async def start() -> Call:
            config = await self._config(options)
            call = self._speech.StreamingSynthesize(timeout=options.get("timeout", self._timeout))
            # If the call is over already, whoever reads it learns why.
            with suppress(CallOverError):
                await write(call, synthesis_pb2.StreamingSynthesizeRequest(config=config))
            return call

        return TextStream(pieces, start, self.address)

    async def models(self) -> tuple[Model, ...]:
        with translated(self.address):
            response = await self._models.List(models_pb2.ListModelsRequest(), timeout=self._timeout)
        return tuple(model_from_proto(model) for model in response.models)

    async def model(self, name: str) -> Model:
        with translated(self.address):
            request = models_pb2.GetModelRequest(name=name)
            return model_from_proto(await self._models.Get(request, timeout=self._timeout))

    async def health(self) -> Health:
        """Ask for the state of the gateway and of every stage behind it."""
        with translated(self.address):
            return await ask_health(self._channel, deadline_seconds=self._timeout)

    async def _request(self, text: str, options: Options) -> synthesis_pb2.SynthesizeRequest:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise unencodable() from None
        return synthesis_pb2.SynthesizeRequest(config=await self._config(options), text=text)

    async def _config(self, options: Options) -> synthesis_pb2.SynthesisConfig:
        emotion = emotion_of(options)
        voice = emotion_voice = ""
        if options.get("voice"):
            voice = await self.voices.resolve(options["voice"])
        if emotion is not None and emotion.voice is not None:
            emotion_voice = await self.voices.resolve(emotion.voice)
        return config_to_proto(options, voice, emotion_voice)
