"""What the server would speak, without speaking."""

from __future__ import annotations

from dataclasses import dataclass

from protos.tts.v1 import synthesis_pb2
from triptych import reply
from triptych.audio import TextSpan, TextWarning, Usage, Utterance
from triptych.enums import name_of


@dataclass(frozen=True)
class Token:
    """A text token and the text that it comes from."""

    id: int
    piece: str
    """The model's own spelling."""
    text_span: TextSpan


@dataclass(frozen=True)
class AnalyzedSegment:
    """A piece of the text as it would be spoken."""

    index: int
    text_span: TextSpan
    normalized_text: str
    tokens: tuple[Token, ...]
    warnings: tuple[TextWarning, ...]
    codes: tuple[int, ...]
    """Those of one instant together; empty unless asked for."""
    codebooks: int
    """Codes of one instant."""
    finish_reason: str
    """Of the codes: ``stop``, ``max_codes`` or ``cancelled``; ``unspecified`` without them."""


@dataclass(frozen=True)
class Analysis:
    """A text as the model sees it."""

    model: str
    model_revision: str
    language: str
    normalized_text: str
    segments: tuple[AnalyzedSegment, ...]
    usage: Usage
    utterance: Utterance | None
    """What decided the codes; None without them."""
    warnings: tuple[TextWarning, ...] = ()
    """Of text that is in no segment."""


def analysis_from_proto(response: synthesis_pb2.AnalyzeResponse) -> Analysis:
    return Analysis(
        model=response.model,
        model_revision=response.model_revision,
        language=response.language,
        normalized_text=response.normalized_text,
        segments=tuple(_segment(segment) for segment in response.segments),
        usage=reply.usage(response.usage),
        utterance=reply.utterance(response.utterance) if response.HasField("utterance") else None,
        warnings=tuple(reply.warning(message) for message in response.warnings),
    )


def _segment(segment: synthesis_pb2.AnalyzedSegment) -> AnalyzedSegment:
    return AnalyzedSegment(
        index=segment.segment,
        text_span=reply.span(segment.text_span),
        normalized_text=segment.normalized_text,
        tokens=tuple(Token(token.id, token.piece, reply.span(token.text_span)) for token in segment.tokens),
        warnings=tuple(reply.warning(message) for message in segment.warnings),
        codes=tuple(segment.codes),
        codebooks=segment.codebooks,
        finish_reason=name_of(synthesis_pb2.FinishReason, segment.finish_reason),
    )
