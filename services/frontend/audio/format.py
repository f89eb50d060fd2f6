"""What a caller may ask of the sound that comes back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protos.tts.v1 import synthesis_pb2
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason

MIN_SAMPLE_RATE_HZ = 8_000
MAX_SAMPLE_RATE_HZ = 48_000
MIN_CHUNK_MS = 20
MAX_CHUNK_MS = 100
MAX_SILENCE_MS = 2_000

DEFAULT_CHUNK_MS = 40
DEFAULT_GAP_MS = 200


class Encoding(IntEnum):
    """How samples become bytes; numbers equal those of the proto."""

    LINEAR16 = 1
    FLOAT32 = 2
    MULAW = 3
    ALAW = 4
    WAV = 5


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """The sound of one utterance, checked and complete."""

    encoding: Encoding
    sample_rate_hz: int
    """Of what is sent; never 0."""
    chunk_ms: int = DEFAULT_CHUNK_MS
    """Length of a message; 0 sends what is rendered as it comes."""
    gap_ms: int = DEFAULT_GAP_MS
    """Silence between two segments."""
    tail_ms: int = 0
    """Silence after the last segment."""

    @property
    def chunk_samples(self) -> int:
        """Samples of a message, at the rate that is sent; 0 sends what is rendered as it comes."""
        return round(self.sample_rate_hz * self.chunk_ms / 1000)


def audio_format(config: synthesis_pb2.AudioConfig, model_rate_hz: int) -> AudioFormat:
    """Check the request's audio config and fill in what it leaves open.

    Args:
        config: As it came; an empty one is fine.
        model_rate_hz: The model's own sample rate.

    Raises:
        InvalidRequestError: A field is out of range; `field` is its path.
    """
    chunk_ms = config.chunk_ms if config.HasField("chunk_ms") else DEFAULT_CHUNK_MS
    gap_ms = config.segment_gap_ms if config.HasField("segment_gap_ms") else DEFAULT_GAP_MS
    _check(config.sample_rate_hz, "sample_rate_hz", MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ, zero="the model's own rate")
    _check(chunk_ms, "chunk_ms", MIN_CHUNK_MS, MAX_CHUNK_MS, zero="as rendered")
    _check(gap_ms, "segment_gap_ms", 0, MAX_SILENCE_MS)
    _check(config.tail_silence_ms, "tail_silence_ms", 0, MAX_SILENCE_MS)
    return AudioFormat(
        encoding=_encoding(config.encoding),
        sample_rate_hz=config.sample_rate_hz or model_rate_hz,
        chunk_ms=chunk_ms,
        gap_ms=gap_ms,
        tail_ms=config.tail_silence_ms,
    )


def _encoding(number: int) -> Encoding:
    if number == synthesis_pb2.AUDIO_ENCODING_UNSPECIFIED:
        return Encoding.LINEAR16
    try:
        return Encoding(number)
    except ValueError:
        names = ", ".join(encoding.name for encoding in Encoding)
        raise InvalidRequestError(
            f"config.audio.encoding is {number}, which is none of: {names}",
            field="config.audio.encoding",
            reason=Reason.OUT_OF_RANGE,
            metadata={"allowed": names},
        ) from None


def _check(value: int, name: str, minimum: int, maximum: int, *, zero: str = "") -> None:
    """Refuse a value outside of its range; 0 is allowed where `zero` says what it means."""
    if minimum <= value <= maximum or (zero and value == 0):
        return
    path = f"config.audio.{name}"
    besides = f"0 ({zero}) or " if zero else ""
    raise InvalidRequestError(
        f"{path} is {value}; {besides}{minimum} to {maximum} is allowed",
        field=path,
        reason=Reason.OUT_OF_RANGE,
        metadata={"minimum": str(minimum), "maximum": str(maximum)},
    )
