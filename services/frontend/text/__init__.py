"""Text to tokens: normalise, segment, tokenize. Knows neither gRPC nor torch."""

from services.frontend.text.frontend import TextFrontend, build_frontend
from services.frontend.text.options import MAX_TERMS, MIN_SEGMENT_TOKENS, TextOptions
from services.frontend.text.segment import Encoded, Segment, TextWarning, TextWarningReason, Token
from services.frontend.text.segmenter import Segmenter, SegmentPolicy
from services.frontend.text.validation import check_fragment, check_text, is_speakable

__all__ = [
    "MAX_TERMS",
    "MIN_SEGMENT_TOKENS",
    "Encoded",
    "Segment",
    "SegmentPolicy",
    "Segmenter",
    "TextFrontend",
    "TextOptions",
    "TextWarning",
    "TextWarningReason",
    "Token",
    "build_frontend",
    "check_fragment",
    "check_text",
    "is_speakable",
]
