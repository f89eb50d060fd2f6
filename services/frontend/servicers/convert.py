"""From the gateway's own types to the public messages."""

from __future__ import annotations

from typing import Protocol

from protos.tts.v1 import synthesis_pb2, voices_pb2
from services.frontend.audio import encoding
from services.frontend.recordings.facts import VoiceWarning
from services.frontend.request.speech_request import SpeechRequest
from services.frontend.speaking.packets import Packet
from services.frontend.speaking.segment_map import EndedSegment
from services.frontend.speaking.timings import Timings
from services.frontend.speaking.usage import Usage
from services.frontend.speaking.utterance import Utterance
from services.frontend.text.segment import TextWarning
from services.frontend.voices.record import StoredVoice


class HasSpan(Protocol):
    """A piece of the caller's text, in characters."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


def chunk_to_proto(packet: Packet, utterance: Utterance, sequence: int) -> synthesis_pb2.AudioChunk:
    """A packet as a message; the first one brings the header of the encoding and what was decided."""
    audio = utterance.request.audio
    chunk = synthesis_pb2.AudioChunk(
        audio=packet.audio if sequence else encoding.header(audio) + packet.audio,
        sample_rate_hz=audio.sample_rate_hz,
        sequence=sequence,
        start_sample=packet.start_sample,
        segment_ends=[segment_to_proto(ended) for ended in packet.segment_ends],
        is_last=packet.is_last,
    )
    if sequence == 0:
        chunk.utterance.CopyFrom(utterance_to_proto(utterance.request, utterance.language))
    if packet.segment is not None:
        chunk.segment = packet.segment.segment.index
        chunk.text_span.CopyFrom(span_to_proto(packet.segment.segment))
    return chunk


def utterance_to_proto(request: SpeechRequest, language: str) -> synthesis_pb2.UtteranceInfo:
    return synthesis_pb2.UtteranceInfo(
        utterance_id=request.utterance_id,
        session_id=request.session_id,
        seed=request.seed,
        model=request.pipeline.model,
        model_revision=request.pipeline.revision,
        voice_id=request.voice_id,
        policy=request.policy.name,
        language=language,
        encoding=synthesis_pb2.AudioEncoding.ValueType(int(request.audio.encoding)),
    )


def segment_to_proto(ended: EndedSegment) -> synthesis_pb2.SegmentInfo:
    spoken = ended.spoken
    return synthesis_pb2.SegmentInfo(
        segment=spoken.segment.index,
        text_span=span_to_proto(spoken.segment),
        text_tokens=len(spoken.segment.token_ids),
        codes=spoken.codes,
        samples=ended.num_samples,
        finish_reason=synthesis_pb2.FinishReason.ValueType(int(spoken.finish_reason)),
        warnings=[warning_to_proto(warning) for warning in spoken.segment.warnings],
    )


def warning_to_proto(warning: TextWarning) -> synthesis_pb2.TextWarning:
    return synthesis_pb2.TextWarning(
        reason=synthesis_pb2.TextWarningReason.ValueType(int(warning.reason)),
        message=warning.message,
        text_span=span_to_proto(warning),
    )


def span_to_proto(piece: HasSpan) -> synthesis_pb2.TextSpan:
    return synthesis_pb2.TextSpan(start=piece.start, end=piece.end)


def usage_to_proto(usage: Usage, utterance: Utterance) -> synthesis_pb2.Usage:
    return synthesis_pb2.Usage(
        characters=utterance.num_characters,
        text_tokens=usage.text_tokens,
        codes=usage.codes,
        audio_seconds=usage.num_samples / utterance.request.audio.sample_rate_hz,
    )


def timings_to_proto(timings: Timings) -> synthesis_pb2.StageTimings:
    return synthesis_pb2.StageTimings(
        first_audio_ms=timings.first_audio_ms,
        total_ms=timings.total_ms,
        first_token_ms=timings.first_token_ms,
        queue_ms=timings.queue_ms,
        compute_ms=timings.compute_ms,
        first_output_ms=timings.first_output_ms,
    )


def voice_to_proto(voice: StoredVoice, *, is_default: bool) -> voices_pb2.Voice:
    proto = voices_pb2.Voice(
        name=voice.name,
        id=voice.id,
        source=voices_pb2.VoiceSource.ValueType(int(voice.source)),
        is_default=is_default,
        transcript=voice.transcript,
        description=voice.description,
    )
    if voice.facts is not None:
        proto.duration_seconds = voice.facts.duration_seconds
        proto.used_seconds = voice.facts.used_seconds
        proto.sample_rate_hz = voice.facts.sample_rate_hz
        proto.channels = voice.facts.channels
        proto.warnings.extend(_voice_warning(each) for each in voice.facts.warnings)
    return proto


def _voice_warning(warning: VoiceWarning) -> voices_pb2.VoiceWarning:
    reason = voices_pb2.VoiceWarningReason.Value(f"VOICE_WARNING_REASON_{warning.reason}")
    return voices_pb2.VoiceWarning(reason=reason, message=warning.message)
