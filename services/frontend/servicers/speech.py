"""tts.v1.TextToSpeech: translates between the public messages and utterances."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from protos.tts.v1 import synthesis_pb2, synthesis_pb2_grpc
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend import analysis
from services.frontend.door import Door
from services.frontend.gateway import Gateway
from services.frontend.request.resolver import new_utterance_id
from services.frontend.servicers import convert
from services.frontend.servicers.calls import Context, SpeechCall, speech_call
from services.frontend.servicers.messages import next_message
from services.frontend.servicers.whole_answer import whole_answer
from services.frontend.speaking.arriving_text import ArrivingText
from services.frontend.speaking.packets import Packet
from services.frontend.speaking.sound import sound
from services.frontend.speaking.usage import Usage
from services.frontend.speaking.utterance import Utterance

Requests = AsyncIterator[synthesis_pb2.StreamingSynthesizeRequest]
AudioChunks = AsyncGenerator[synthesis_pb2.AudioChunk, None]
SoundPackets = AsyncGenerator[Packet, None]


class SpeechServicer(synthesis_pb2_grpc.TextToSpeechServicer):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._door = Door(gateway.text_limits.max_streams, "calls that speak or analyze")

    async def Synthesize(
        self, request: synthesis_pb2.SynthesizeRequest, context: Context
    ) -> synthesis_pb2.SynthesizeResponse:
        with speech_call("Synthesize", context, new_utterance_id()) as call, self._door.entered():
            utterance, add_all = await self._gateway.begin_whole(
                request, call, max_characters=self._gateway.text_limits.max_unary_characters
            )
            # One answer: into what its samples are cut on the way does not matter.
            as_rendered = replace(utterance.request.audio, chunk_ms=0)
            answer, call.audio_seconds = await whole_answer(utterance, sound(utterance, add_all, as_rendered))
            return answer

    async def SynthesizeStream(self, request: synthesis_pb2.SynthesizeRequest, context: Context) -> AudioChunks:
        with speech_call("SynthesizeStream", context, new_utterance_id()) as call, self._door.entered():
            utterance, add_all = await self._gateway.begin_whole(
                request, call, max_characters=self._gateway.text_limits.max_stream_characters
            )
            packets = sound(utterance, add_all, utterance.request.audio)
            async with aclosing(_chunks(call, utterance, packets)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def StreamingSynthesize(self, request_iterator: Requests, context: Context) -> AudioChunks:
        with speech_call("StreamingSynthesize", context, new_utterance_id()) as call, self._door.entered():
            requests = aiter(request_iterator)
            # The config may hold a recording: no name keeps it here for as long as the call lives.
            utterance = await self._gateway.begin_arriving(await self._config(requests), call)
            text = ArrivingText(utterance, self._gateway)
            packets = sound(utterance, lambda: text.read(requests), utterance.request.audio)
            async with aclosing(_chunks(call, utterance, packets)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def Analyze(self, request: synthesis_pb2.AnalyzeRequest, context: Context) -> synthesis_pb2.AnalyzeResponse:
        with speech_call("Analyze", context, new_utterance_id()) as call, self._door.entered():
            return await analysis.analyze(self._gateway, request, call)

    async def _config(self, requests: Requests) -> synthesis_pb2.SynthesisConfig:
        first = await next_message(requests, idle_seconds=self._gateway.text_limits.stream_idle_seconds)
        if first is None or first.WhichOneof("message") != "config":
            raise InvalidRequestError("the first message must be config", field="config", reason=Reason.CONFIG_MISSING)
        return first.config


async def _chunks(call: SpeechCall, utterance: Utterance, packets: SoundPackets) -> AudioChunks:
    usage, sequence = Usage(), 0
    async with aclosing(packets):
        async for packet in packets:
            usage.add(packet)
            chunk = convert.chunk_to_proto(packet, utterance, sequence)
            if packet.num_samples:
                utterance.note_audio()
            if packet.is_last:
                utterance.timings.finish()
                chunk.timings.CopyFrom(convert.timings_to_proto(utterance.timings))
                chunk.usage.CopyFrom(convert.usage_to_proto(usage, utterance))
                chunk.warnings.extend(map(convert.warning_to_proto, utterance.warnings))
            yield chunk
            sequence += 1
            call.audio_seconds += packet.num_samples / utterance.request.audio.sample_rate_hz
