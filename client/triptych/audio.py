"""Speech as it comes back: samples with their rate, and what the server decided about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import NamedTuple

from triptych.encodings import Samples
from triptych.wav import WavWriter


class TextSpan(NamedTuple):
    """A piece of the caller's text: ``text[span.start : span.end]``."""

    start: int
    end: int


@dataclass(frozen=True)
class Utterance:
    """What was decided for this speech: enough to make the same again."""

    utterance_id: str
    session_id: str
    seed: int
    model: str
    model_revision: str
    voice_id: str
    policy: str
    language: str
    """The one that was asked for, or the one that the text begins in."""
    encoding: str


@dataclass(frozen=True)
class TextWarning:
    """Something in the text that is not spoken as it was written."""

    reason: str
    """``unknown_character``: a character that the model does not know was dropped."""
    message: str
    text_span: TextSpan


@dataclass(frozen=True)
class Segment:
    """A piece of the text that is spoken."""

    index: int
    text_span: TextSpan
    text_tokens: int
    codes: int
    samples: int
    """Of this segment and the silence before it."""
    finish_reason: str
    """``stop``, ``max_codes`` (the speech was cut at the model's limit) or ``cancelled``."""
    warnings: tuple[TextWarning, ...] = ()


@dataclass(frozen=True)
class Usage:
    """What the call used."""

    characters: int
    text_tokens: int
    codes: int
    audio_seconds: float


@dataclass(frozen=True)
class Timings:
    """Where the time went, as the server measured it: milliseconds since it took the call."""

    first_audio_ms: float
    total_ms: float
    first_token_ms: float = 0.0
    """When the first code of the speech was there; 0 for models without codes."""
    queue_ms: float = 0.0
    """Waited for slots."""
    compute_ms: dict[str, float] = field(default_factory=dict)
    """Computing time of each stage."""
    first_output_ms: dict[str, float] = field(default_factory=dict)
    """When each stage gave its first output."""


@dataclass(frozen=True, eq=False)
class Audio:
    """A run of samples of a stream."""

    samples: Samples = field(repr=False)
    """float32 in [-1, 1]."""
    sample_rate_hz: int
    data: bytes = field(repr=False)
    """The same in the encoding that was asked for; with WAV, the first run begins with a header."""
    start_sample: int
    """Index of the first of `samples` in the whole speech."""
    sequence: int
    segment: int
    text_span: TextSpan
    """The text that this segment covers."""
    utterance: Utterance | None
    """On the first run of a stream."""
    segment_ends: tuple[Segment, ...]
    """The segments whose last sample is in this run."""
    timings: Timings | None
    """On the last run."""
    usage: Usage | None
    """On the last run."""
    is_last: bool
    warnings: tuple[TextWarning, ...] = ()
    """On the last run: of text that is in no segment."""

    @property
    def duration_seconds(self) -> float:
        return len(self.samples) / self.sample_rate_hz if self.sample_rate_hz else 0.0

    @property
    def start_ms(self) -> float:
        return 1000 * self.start_sample / self.sample_rate_hz if self.sample_rate_hz else 0.0

    @property
    def end_ms(self) -> float:
        return self.start_ms + 1000 * self.duration_seconds


@dataclass(frozen=True, eq=False)
class Speech:
    """A whole speech."""

    samples: Samples = field(repr=False)
    """float32 in [-1, 1]."""
    sample_rate_hz: int
    data: bytes = field(repr=False)
    """The same in the encoding that was asked for."""
    utterance: Utterance
    segments: tuple[Segment, ...]
    timings: Timings
    usage: Usage
    warnings: tuple[TextWarning, ...] = ()
    """What is not spoken as it was written, in all of the text."""

    @property
    def duration_seconds(self) -> float:
        return len(self.samples) / self.sample_rate_hz if self.sample_rate_hz else 0.0

    def save(self, path: str | PathLike[str]) -> None:
        """Write a 16-bit WAV file, whatever the encoding."""
        with WavWriter(path) as writer:
            writer.write(self.samples, self.sample_rate_hz)
