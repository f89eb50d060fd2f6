"""The library's door for programs with an event loop: one connection to a server, and every call that it takes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from contextlib import suppress
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from protos.tts.v1 import models_pb2, models_pb2_grpc, status_pb2, status_pb2_grpc, synthesis_pb2, synthesis_pb2_grpc
from triptych import reply
from triptych.analysis import Analysis, analysis_from_proto
from triptych.audio import Speech
from triptych.connection import Connection
from triptych.health import Health, ask_health
from triptych.models import Model, model_from_proto
from triptych.options import Options
from triptych.recording import voice_source
from triptych.request import check_text, config_message, emotion_of, given
from triptych.retries import Retry, RetryPolicy
from triptych.status import SystemStatus, status_from_proto
from triptych.streams import AsyncAudioStream, Call, Exchange
from triptych.text_stream import AsyncTextStream, Piece, TextCall, TextExchange
from triptych.voices import AsyncVoices
from triptych.writing import CallOverError, write

if TYPE_CHECKING:
    from protos.tts.v1.models_pb2_grpc import ModelsAsyncStub
    from protos.tts.v1.status_pb2_grpc import StatusAsyncStub
    from protos.tts.v1.synthesis_pb2_grpc import TextToSpeechAsyncStub


class AsyncClient:
    """A connection to a server; use it with ``async with``, in one event loop.

    Args:
        address: ``host:port``; by default `TRIPTYCH_ADDRESS`, or 127.0.0.1:50051.
        timeout: Seconds that a call may take, with its retries; calls that speak take their own.
        token: Sent with every call; by default what the file holds.
        token_file: A file that holds the token, read again when it has changed; by default `TRIPTYCH_TOKEN_FILE`.
        ca: PEM file of the authorities that may vouch for the server, which turns TLS on; by default `TRIPTYCH_CA`.
        retries: How often a call that is refused for now is made again. Nothing is once audio has come.
        max_retry_wait_seconds: All waits of one call together; a refusal that asks for more is raised.
        on_retry: Told of each wait; so is the logger ``triptych``.

    Raises:
        ConfigError: if a file cannot be used; the message names it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float | None = None,
        token: str | None = None,
        token_file: str | PathLike[str] | None = None,
        ca: str | PathLike[str] | None = None,
        retries: int = 3,
        max_retry_wait_seconds: float = 30.0,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> None:
        self._connection = Connection(
            address,
            timeout_seconds=timeout,
            token=token,
            token_file=token_file,
            ca=ca,
            retry_policy=RetryPolicy(retries, max_retry_wait_seconds, on_retry),
        )
        channel = self._connection.channel
        self._speech: TextToSpeechAsyncStub = synthesis_pb2_grpc.TextToSpeechStub(channel)
        self._models: ModelsAsyncStub = models_pb2_grpc.ModelsStub(channel)
        self._status: StatusAsyncStub = status_pb2_grpc.StatusStub(channel)
        self.voices = AsyncVoices(self._connection)

    @property
    def address(self) -> str:
        return self._connection.address

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
        await self._connection.close()

    async def synthesize(self, text: str, **options: Unpack[Options]) -> Speech:
        """Speak a short text and wait for all of it.

        Raises:
            TtsError: a subclass of it that says what went wrong.
        """
        options = given(options)
        request = await self._request(text, options)
        call = self._connection.call(self._speech.Synthesize, request, timeout_seconds=options.get("timeout"))
        return reply.speech(await call)

    def synthesize_stream(self, text: str, **options: Unpack[Options]) -> AsyncAudioStream:
        """Speak a text and return its audio while it is being made.

        Raises:
            TtsError: while it is iterated over; audio that came before stays good.
        """
        options = given(options)

        async def open_call(left_seconds: float | None) -> Call:
            request = await self._request(text, options)
            return self._speech.SynthesizeStream(request, timeout=left_seconds, metadata=self._connection.metadata())

        return AsyncAudioStream(Exchange(self._connection, open_call, options.get("timeout")))

    def stream_text(self, pieces: AsyncIterable[Piece], **options: Unpack[Options]) -> AsyncTextStream:
        """Speak pieces of a text as they come; `Flush` and `CancelSegment` may be among them.

        Pieces are joined as they are, so a word may be cut in two. The speech ends when `pieces` does.
        """
        options = given(options)

        async def open_call(left_seconds: float | None) -> TextCall:
            config = await self._config(options)
            call = self._speech.StreamingSynthesize(timeout=left_seconds, metadata=self._connection.metadata())
            # If the call is over already, whoever reads it learns why.
            with suppress(CallOverError):
                await write(call, synthesis_pb2.StreamingSynthesizeRequest(config=config))
            return call

        return AsyncTextStream(TextExchange(self._connection, open_call, options.get("timeout"), pieces))

    async def analyze(self, text: str, *, with_codes: bool = False, **options: Unpack[Options]) -> Analysis:
        """Say what would be spoken, without speaking.

        Args:
            text: What to say.
            with_codes: Also makes the codes, which takes a slot and as long as they take.
            **options: As for speaking.
        """
        options = given(options)
        asked = await self._request(text, options)
        request = synthesis_pb2.AnalyzeRequest(config=asked.config, text=text, with_codes=with_codes)
        call = self._connection.call(self._speech.Analyze, request, timeout_seconds=options.get("timeout"))
        return analysis_from_proto(await call)

    async def models(self) -> tuple[Model, ...]:
        response = await self._connection.call(self._models.List, models_pb2.ListModelsRequest())
        return tuple(model_from_proto(model) for model in response.models)

    async def model(self, name: str = "") -> Model:
        """Return the model of this name, or the default one."""
        return model_from_proto(await self._connection.call(self._models.Get, models_pb2.GetModelRequest(name=name)))

    async def status(self) -> SystemStatus:
        """Ask how the gateway, the models, their stages and workers are."""
        return status_from_proto(await self._connection.call(self._status.Get, status_pb2.GetStatusRequest()))

    async def health(self) -> Health:
        """Ask by grpc.health.v1 whether the gateway and every stage behind it serve; needs no token."""
        return await self._connection.attempt(lambda left: ask_health(self._connection.channel, left))

    async def _request(self, text: str, options: Options) -> synthesis_pb2.SynthesizeRequest:
        check_text(text)
        return synthesis_pb2.SynthesizeRequest(config=await self._config(options), text=text)

    async def _config(self, options: Options) -> synthesis_pb2.SynthesisConfig:
        emotion = emotion_of(options)
        emotion_voice = None
        if emotion is not None and emotion.voice is not None:
            emotion_voice = await self.voices.resolve(emotion.voice, field_path="config.emotion.voice")
        return config_message(options, await voice_source(options.get("voice")), emotion_voice)
