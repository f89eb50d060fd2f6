"""tts.v1.TextToSpeech: translates between the public messages and utterances."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from protos.tts.v1 import synthesis_pb2, synthesis_pb2_grpc
from services.common.errors import InvalidRequestError
from services.frontend import convert
from services.frontend.arriving_text import ArrivingText
from services.frontend.calls import Context, SpeechCall, speech_call
from services.frontend.gateway import Gateway
from services.frontend.pipeline import Utterance, speak
from services.frontend.request_resolver import new_utterance_id
from services.frontend.speech_output import Spoken

Requests = AsyncIterator[synthesis_pb2.StreamingSynthesizeRequest]
AudioChunks = AsyncIterator[synthesis_pb2.AudioChunk]


class SpeechServicer(synthesis_pb2_grpc.TextToSpeechServicer):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Synthesize(
        self, request: synthesis_pb2.SynthesizeRequest, context: Context
    ) -> synthesis_pb2.SynthesizeResponse:
        with speech_call("Synthesize", context, new_utterance_id()) as call:
            utterance, add_all = await self._gateway.begin_whole(
                request, call, max_characters=self._gateway.text_limits.max_unary_characters
            )
            pcm: list[bytes] = []
            segments = []
            async for spoken in _heard(call, utterance, add_all):
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
        with speech_call("SynthesizeStream", context, new_utterance_id()) as call:
            utterance, add_all = await self._gateway.begin_whole(
                request, call, max_characters=self._gateway.text_limits.max_stream_characters
            )
            async for chunk in _chunks(call, utterance, add_all):
                yield chunk

    async def StreamingSynthesize(self, request_iterator: Requests, context: Context) -> AudioChunks:
        with speech_call("StreamingSynthesize", context, new_utterance_id()) as call:
            requests = aiter(request_iterator)
            first = await anext(requests, None)
            if first is None or first.WhichOneof("message") != "config":
                raise InvalidRequestError("the first message must be config", field="config", reason="CONFIG_MISSING")
            utterance = await self._gateway.begin(first.config, call)
            text = ArrivingText(utterance, self._gateway)
            async for chunk in _chunks(call, utterance, lambda: text.read(requests)):
                yield chunk


async def _chunks(call: SpeechCall, utterance: Utterance, add_text: Callable[[], Awaitable[None]]) -> AudioChunks:
    sequence = 0
    last: Spoken | None = None
    async for spoken in _heard(call, utterance, add_text):
        last = spoken
        yield convert.chunk_to_proto(spoken, utterance, sequence)
        sequence += 1
    yield convert.last_chunk(utterance, last, sequence)


async def _heard(
    call: SpeechCall, utterance: Utterance, add_text: Callable[[], Awaitable[None]]
) -> AsyncIterator[Spoken]:
    """The utterance's speech, counted."""
    async with aclosing(speak(utterance, add_text)) as speech:
        async for spoken in speech:
            yield spoken
            call.audio_seconds += convert.seconds_of(spoken.pcm, utterance.request.pipeline.sample_rate_hz)
