"""Text to token ids: normalise, segment, tokenize. Knows neither gRPC nor torch."""

from services.frontend.text.frontend import TextFrontend, build_frontend
from services.frontend.text.segmenter import Encoded, Segment, Segmenter, SegmentPolicy
from services.frontend.text.validation import check_fragment, check_text, is_speakable

__all__ = [
    "Encoded",
    "Segment",
    "SegmentPolicy",
    "Segmenter",
    "TextFrontend",
    "build_frontend",
    "check_fragment",
    "check_text",
    "is_speakable",
]
