"""From the gateway's own types to the public messages."""

from __future__ import annotations

from protos.tts.v1 import models_pb2, synthesis_pb2, voices_pb2
from services.frontend import request_resolver
from services.frontend.pipeline import Utterance
from services.frontend.speech import SpeechRequest
from services.frontend.speech_output import BYTES_PER_SAMPLE, Spoken, SpokenSegment
from services.frontend.timings import Timings
from services.frontend.topology import Pipeline, Pool
from services.frontend.voice_store import StoredVoice


def chunk_to_proto(spoken: Spoken, utterance: Utterance, sequence: int) -> synthesis_pb2.AudioChunk:
    chunk = synthesis_pb2.AudioChunk(
        audio=spoken.pcm,
        sample_rate_hz=utterance.request.pipeline.sample_rate_hz,
        sequence=sequence,
        start_sample=spoken.start_sample,
        segment=spoken.segment,
    )
    if sequence == 0:
        chunk.utterance.CopyFrom(utterance_to_proto(utterance.request))
    if spoken.segment_end is not None:
        chunk.segment_end.CopyFrom(segment_to_proto(spoken.segment_end))
    return chunk


def last_chunk(utterance: Utterance, last: Spoken | None, sequence: int) -> synthesis_pb2.AudioChunk:
    """The message that closes a stream: no audio, the timings."""
    samples, rate = utterance.output.num_samples, utterance.request.pipeline.sample_rate_hz
    closing = Spoken(b"", last.segment if last is not None else 0, samples)
    chunk = chunk_to_proto(closing, utterance, sequence)
    chunk.timings.CopyFrom(timings_to_proto(utterance.timings, samples / rate))
    chunk.is_last = True
    return chunk


def utterance_to_proto(request: SpeechRequest) -> synthesis_pb2.UtteranceInfo:
    return synthesis_pb2.UtteranceInfo(
        utterance_id=request.utterance_id,
        session_id=request.session_id,
        seed=request.seed,
        model=request.pipeline.model,
        model_revision=request.pipeline.revision,
        voice_id=request.voice_id,
        policy=request.policy.name,
    )


def segment_to_proto(spoken: SpokenSegment) -> synthesis_pb2.SegmentInfo:
    return synthesis_pb2.SegmentInfo(
        segment=spoken.segment.index,
        text_start=spoken.segment.start,
        text_end=spoken.segment.end,
        text_tokens=len(spoken.segment.token_ids),
        codes=spoken.codes,
        samples=spoken.samples,
        finish_reason=synthesis_pb2.FinishReason.ValueType(int(spoken.finish_reason)),
    )


def timings_to_proto(timings: Timings, audio_seconds: float) -> synthesis_pb2.StageTimings:
    return synthesis_pb2.StageTimings(
        first_audio_ms=timings.first_audio_ms,
        total_ms=timings.total_ms,
        audio_seconds=audio_seconds,
        compute_ms=timings.compute_ms,
        first_output_ms=timings.first_output_ms,
    )


def seconds_of(pcm: bytes, sample_rate_hz: int) -> float:
    return len(pcm) / BYTES_PER_SAMPLE / sample_rate_hz


def voice_to_proto(name: str, voice: StoredVoice) -> voices_pb2.Voice:
    facts = voice.facts
    if facts is None:
        return voices_pb2.Voice(name=name, id=voice.id)
    return voices_pb2.Voice(
        name=name,
        id=voice.id,
        duration_seconds=facts.duration_seconds,
        used_seconds=facts.used_seconds,
        sample_rate_hz=facts.sample_rate_hz,
        channels=facts.channels,
        warnings=facts.warnings,
    )


def model_to_proto(pipeline: Pipeline, limits: models_pb2.ModelLimits, *, is_default: bool) -> models_pb2.Model:
    return models_pb2.Model(
        name=pipeline.model,
        revision=pipeline.revision,
        is_default=is_default,
        languages=pipeline.languages,
        sample_rate_hz=pipeline.sample_rate_hz,
        capabilities=request_resolver.capabilities(pipeline),
        limits=limits,
        stages=[stage for pool in pipeline.pools for stage in _stages(pool)],
        parameters=[
            models_pb2.ModelParameter(
                name=spec.name,
                minimum=spec.minimum,
                maximum=spec.maximum,
                default_value=spec.default_value,
                description=spec.description,
            )
            for spec in pipeline.params().values()
        ],
    )


def _stages(pool: Pool) -> list[models_pb2.ModelStage]:
    return [
        models_pb2.ModelStage(
            name=pool.stage,
            worker=link.about.worker,
            device=link.about.device.name,
            provider=link.about.device.provider,
            dtype=link.about.device.dtype,
            slots=link.about.slots,
            is_serving=link.takes_streams,
        )
        for link in pool.links
        if link.about is not None
    ]
