"""Messages of the server about speech as this package's own types."""

from __future__ import annotations

from protos.tts.v1 import synthesis_pb2
from triptych.audio import Audio, Segment, Speech, TextSpan, TextWarning, Timings, Usage, Utterance
from triptych.encodings import SampleDecoder
from triptych.enums import name_of


class ChunkReader:
    """Reads the chunks of one stream, in order."""

    def __init__(self) -> None:
        self._decoder: SampleDecoder | None = None

    @property
    def has_audio(self) -> bool:
        """Whether anything has come: the first message carries audio."""
        return self._decoder is not None

    def read(self, chunk: synthesis_pb2.AudioChunk) -> Audio:
        if self._decoder is None:
            self._decoder = SampleDecoder(encoding_of(chunk.utterance))
        return Audio(
            samples=self._decoder.decode(chunk.audio),
            sample_rate_hz=chunk.sample_rate_hz,
            data=chunk.audio,
            start_sample=chunk.start_sample,
            sequence=chunk.sequence,
            segment=chunk.segment,
            text_span=span(chunk.text_span),
            utterance=utterance(chunk.utterance) if chunk.HasField("utterance") else None,
            segment_ends=tuple(_segment(segment) for segment in chunk.segment_ends),
            timings=_timings(chunk.timings) if chunk.HasField("timings") else None,
            usage=usage(chunk.usage) if chunk.HasField("usage") else None,
            is_last=chunk.is_last,
            warnings=tuple(warning(message) for message in chunk.warnings),
        )


def speech(response: synthesis_pb2.SynthesizeResponse) -> Speech:
    decoder = SampleDecoder(encoding_of(response.utterance))
    segments = tuple(_segment(segment) for segment in response.segments)
    in_segments = tuple(each for segment in segments for each in segment.warnings)
    return Speech(
        samples=decoder.decode(response.audio),
        sample_rate_hz=response.sample_rate_hz,
        data=response.audio,
        utterance=utterance(response.utterance),
        segments=segments,
        timings=_timings(response.timings),
        usage=usage(response.usage),
        warnings=in_segments + tuple(warning(message) for message in response.warnings),
    )


def encoding_of(info: synthesis_pb2.UtteranceInfo) -> str:
    return name_of(synthesis_pb2.AudioEncoding, info.encoding or synthesis_pb2.AUDIO_ENCODING_LINEAR16)


def span(text_span: synthesis_pb2.TextSpan) -> TextSpan:
    return TextSpan(text_span.start, text_span.end)


def utterance(info: synthesis_pb2.UtteranceInfo) -> Utterance:
    return Utterance(
        utterance_id=info.utterance_id,
        session_id=info.session_id,
        seed=info.seed,
        model=info.model,
        model_revision=info.model_revision,
        voice_id=info.voice_id,
        policy=info.policy,
        language=info.language,
        encoding=encoding_of(info),
    )


def usage(used: synthesis_pb2.Usage) -> Usage:
    return Usage(
        characters=used.characters,
        text_tokens=used.text_tokens,
        codes=used.codes,
        audio_seconds=used.audio_seconds,
    )


def warning(message: synthesis_pb2.TextWarning) -> TextWarning:
    reason = name_of(synthesis_pb2.TextWarningReason, message.reason)
    return TextWarning(reason, message.message, span(message.text_span))


def _segment(info: synthesis_pb2.SegmentInfo) -> Segment:
    return Segment(
        index=info.segment,
        text_span=span(info.text_span),
        text_tokens=info.text_tokens,
        codes=info.codes,
        samples=info.samples,
        finish_reason=name_of(synthesis_pb2.FinishReason, info.finish_reason),
        warnings=tuple(warning(message) for message in info.warnings),
    )


def _timings(timings: synthesis_pb2.StageTimings) -> Timings:
    return Timings(
        first_audio_ms=timings.first_audio_ms,
        total_ms=timings.total_ms,
        first_token_ms=timings.first_token_ms,
        queue_ms=timings.queue_ms,
        compute_ms=dict(timings.compute_ms),
        first_output_ms=dict(timings.first_output_ms),
    )
