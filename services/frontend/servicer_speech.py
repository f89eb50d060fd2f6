"""tts.v1.TextToSpeech: translates between the public messages and utterances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from protos.tts.v1 import synthesis_pb2, synthesis_pb2_grpc
from services.common.errors import DeadlineError, InvalidRequestError
from services.frontend import convert
from services.frontend.arriving_text import ArrivingText
from services.frontend.calls import Context, SpeechCall, speech_call
from services.frontend.door import Door
from services.frontend.gateway import Gateway
from services.frontend.pipeline import Utterance, speak
from services.frontend.request_resolver import new_utterance_id
from services.frontend.speech_output import Spoken

Requests = AsyncIterator[synthesis_pb2.StreamingSynthesizeRequest]
AudioChunks = AsyncGenerator[synthesis_pb2.AudioChunk, None]


class SpeechServicer(synthesis_pb2_grpc.TextToSpeechServicer):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._streams = Door(gateway.text_limits.max_streams, "streams")

    async def Synthesize(
        self, request: synthesis_pb2.SynthesizeRequest, context: Context
    ) -> synthesis_pb2.SynthesizeResponse:
        with speech_call("Synthesize", context, new_utterance_id()) as call:
            utterance, add_all = await self._gateway.begin_whole(
                request, call, max_characters=self._gateway.text_limits.max_unary_characters
            )
            pcm: list[bytes] = []
            segments = []
            async with aclosing(_heard(call, utterance, add_all)) as speech:
                async for spoken in speech:
                    pcm.append(spoken.pcm)
                    if spoken.segment_end is not None:
                        segments.append(convert.segment_to_proto(spoken.segment_end))
            return synthesis_pb2.SynthesizeResponse(
                audio=b"".join(pcm),
                sample_rate_hz=utterance.request.pipeline.sample_rate_hz,
                utterance=convert.utterance_to_proto(utterance.request),
                segments=segments,
                timings=convert.timings_to_proto(utterance.timings, call.audio_seconds),
            )

    async def SynthesizeStream(self, request: synthesis_pb2.SynthesizeRequest, context: Context) -> AudioChunks:
        with speech_call("SynthesizeStream", context, new_utterance_id()) as call, self._streams.entered():
            utterance, add_all = await self._gateway.begin_whole(
                request, call, max_characters=self._gateway.text_limits.max_stream_characters
            )
            async with aclosing(_chunks(call, utterance, add_all)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def StreamingSynthesize(self, request_iterator: Requests, context: Context) -> AudioChunks:
        with speech_call("StreamingSynthesize", context, new_utterance_id()) as call, self._streams.entered():
            requests = aiter(request_iterator)
            first = await self._first(requests)
            if first is None or first.WhichOneof("message") != "config":
                raise InvalidRequestError("the first message must be config", field="config", reason="CONFIG_MISSING")
            utterance = await self._gateway.begin(first.config, call)
            text = ArrivingText(utterance, self._gateway)
            async with aclosing(_chunks(call, utterance, lambda: text.read(requests))) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _first(self, requests: Requests) -> synthesis_pb2.StreamingSynthesizeRequest | None:
        idle_seconds = self._gateway.text_limits.stream_idle_seconds
        try:
            async with asyncio.timeout(idle_seconds):
                return await anext(requests, None)
        except TimeoutError:
            raise DeadlineError(f"no message came for {idle_seconds:g} s", reason="STREAM_IDLE") from None


async def _chunks(call: SpeechCall, utterance: Utterance, add_text: Callable[[], Awaitable[None]]) -> AudioChunks:
    sequence = 0
    last: Spoken | None = None
    async with aclosing(_heard(call, utterance, add_text)) as speech:
        async for spoken in speech:
            last = spoken
            yield convert.chunk_to_proto(spoken, utterance, sequence)
            sequence += 1
    yield convert.last_chunk(utterance, last, sequence)


async def _heard(
    call: SpeechCall, utterance: Utterance, add_text: Callable[[], Awaitable[None]]
) -> AsyncGenerator[Spoken, None]:
    """The utterance's speech, counted."""
    async with aclosing(speak(utterance, add_text)) as speech:
        async for spoken in speech:
            yield spoken
            call.audio_seconds += convert.seconds_of(spoken.pcm, utterance.request.pipeline.sample_rate_hz)
