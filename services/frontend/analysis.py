"""A dry run: what would be spoken, and on request the codes, without sound."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import synthesis_pb2
from services.frontend.gateway import Gateway
from services.frontend.request.capabilities import missing
from services.frontend.request.resolver import CheckedConfig
from services.frontend.request.speech_request import SpeechRequest
from services.frontend.servicers import convert
from services.frontend.servicers.calls import SpeechCall
from services.frontend.speaking import chunks
from services.frontend.speaking.codes_output import CodedSegment, CodesOutput
from services.frontend.speaking.first_audio import FirstAudioLimit
from services.frontend.speaking.lap import Work
from services.frontend.speaking.laps import Laps
from services.frontend.speaking.segment_queue import SegmentQueue
from services.frontend.speaking.text_feed import add_all, nothing_to_speak, slices
from services.frontend.text import Segment, TextWarning, check_text
from services.frontend.wakeup import Wakeup, together
from services.frontend.workers.topology import Pipeline


async def analyze(
    gateway: Gateway, request: synthesis_pb2.AnalyzeRequest, call: SpeechCall
) -> synthesis_pb2.AnalyzeResponse:
    """Check a request as if it were to be spoken and say what would be.

    Raises:
        TtsError: The request would be refused, or the codes could not be made.
    """
    checked = gateway.check(request.config, call)
    async with FirstAudioLimit(call.timings, checked.max_first_audio_ms, what="answer").watching():
        return await _analyze(gateway, checked, request, call)


async def _analyze(
    gateway: Gateway, checked: CheckedConfig, request: synthesis_pb2.AnalyzeRequest, call: SpeechCall
) -> synthesis_pb2.AnalyzeResponse:
    limits = gateway.text_limits
    check_text(
        request.text, max_chars=limits.max_unary_characters if request.with_codes else limits.max_stream_characters
    )
    if request.with_codes and checked.pipeline.codes_edge is None:
        raise missing("codes", "with_codes", checked.pipeline, allowed="it makes no codes on its way to sound")
    segments, warnings = await _segments(gateway, checked, request.text)
    answer = _answer(checked, segments, num_characters=len(request.text))
    answer.warnings.extend(map(convert.warning_to_proto, warnings))
    if request.with_codes:
        await _add_codes(answer, gateway, await gateway.resolve(checked, call), segments, call)
    return answer


class CodesUtterance(Laps):
    """Makes the codes of one request; only the stages up to the codes take part, and only their slots are taken."""

    def __init__(self, request: SpeechRequest, gateway: Gateway, call: SpeechCall) -> None:
        wakeup = Wakeup()
        self.output = CodesOutput(wakeup)
        text = SegmentQueue(wakeup, max_segments=gateway.limits.max_waiting_segments)
        super().__init__(
            Work(request, text, self.output, self._deliver, call.timings, wakeup),
            topology=gateway.topology,
            admission=gateway.admission,
            limits=gateway.limits,
            narrow=Pipeline.up_to_codes,
        )

    async def _deliver(self, chunk: stage_pb2.Chunk, about: stage_pb2.DescribeResponse) -> None:
        self.output.put(chunk.segment, chunks.codes(chunk, about.gives, about.stage))


async def _segments(
    gateway: Gateway, checked: CheckedConfig, text: str
) -> tuple[Sequence[Segment], Sequence[TextWarning]]:
    """The segments that speech of this text would have, and warnings of text that is in none."""
    frontend, options = gateway.frontend(checked), checked.text
    if checked.policy.name == "compat":
        return await asyncio.to_thread(frontend.whole_text_segments, text, options, max_chars=len(text)), ()
    await asyncio.to_thread(frontend.check_text, text, options)
    segmenter, segments = frontend.stream(options), list[Segment]()
    for part in slices(text):
        segments += await asyncio.to_thread(segmenter.feed, part)
    segments += await asyncio.to_thread(segmenter.end)
    if not segments:
        raise nothing_to_speak()
    return segments, segmenter.warnings


def _answer(
    checked: CheckedConfig, segments: Sequence[Segment], *, num_characters: int
) -> synthesis_pb2.AnalyzeResponse:
    return synthesis_pb2.AnalyzeResponse(
        model=checked.pipeline.model,
        model_revision=checked.pipeline.revision,
        language=checked.language or segments[0].language,
        normalized_text=" ".join(segment.normalized for segment in segments),
        segments=[_segment(segment) for segment in segments],
        usage=synthesis_pb2.Usage(
            characters=num_characters, text_tokens=sum(len(segment.tokens) for segment in segments)
        ),
    )


def _segment(segment: Segment) -> synthesis_pb2.AnalyzedSegment:
    return synthesis_pb2.AnalyzedSegment(
        segment=segment.index,
        text_span=synthesis_pb2.TextSpan(start=segment.start, end=segment.end),
        normalized_text=segment.normalized,
        tokens=[
            synthesis_pb2.AnalyzedToken(
                id=token.id, piece=token.piece, text_span=synthesis_pb2.TextSpan(start=token.start, end=token.end)
            )
            for token in segment.tokens
        ],
        warnings=[convert.warning_to_proto(warning) for warning in segment.warnings],
    )


async def _add_codes(
    answer: synthesis_pb2.AnalyzeResponse,
    gateway: Gateway,
    request: SpeechRequest,
    segments: Sequence[Segment],
    call: SpeechCall,
) -> None:
    """Make the codes as speech with the same seed would."""
    utterance = CodesUtterance(request, gateway, call)

    async def add_text() -> None:
        await add_all(utterance, segments)
        utterance.end_text()

    await together(utterance.run(), add_text())
    edge = request.pipeline.codes_edge
    for analyzed, made in zip(answer.segments, utterance.output.segments, strict=True):
        _add_segment_codes(analyzed, made, codebooks=max(edge.codebooks, 1) if edge is not None else 1)
    answer.usage.codes = sum(made.codes for made in utterance.output.segments)
    answer.utterance.CopyFrom(convert.utterance_to_proto(request, utterance.language))


def _add_segment_codes(analyzed: synthesis_pb2.AnalyzedSegment, made: CodedSegment, *, codebooks: int) -> None:
    analyzed.codes.extend(made.values)
    analyzed.codebooks = codebooks
    analyzed.finish_reason = synthesis_pb2.FinishReason.ValueType(int(made.finish_reason))
