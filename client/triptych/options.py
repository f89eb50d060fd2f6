"""What a caller may ask for beside the text; what is left out is the server's own default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from triptych.encodings import Encoding
from triptych.recording import VoiceLike

EMOTIONS = ("happy", "angry", "sad", "afraid", "disgusted", "melancholic", "surprised", "calm")


@dataclass(frozen=True)
class Emotion:
    """How the speech should feel: one of strengths by name, a recording that carries the feeling, and a description."""

    strengths: Mapping[str, float] | None = None
    """0 to 1 for any of `EMOTIONS`."""
    voice: VoiceLike | None = None
    """A registered voice. A recording is registered unless it is already; it stays, under a name made of its hash."""
    text: str | None = None
    """For models with the capability ``emotion_text``."""
    weight: float | None = None
    """0 to 1: scales the strengths, or blends from the speaker's own emotion to the recording's."""
    is_normalized: bool = False
    """Applies the published web interface's bias to the strengths and limits their sum; for strengths alone."""


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_codes: int | None = None
    is_greedy: bool = False


@dataclass(frozen=True)
class Render:
    """How codes become sound."""

    steps: int | None = None
    cfg_rate: float | None = None
    policy: str = ""
    """One of `Model.policies`."""


class Options(TypedDict, total=False):
    """Keyword arguments of every call that speaks; None is the same as left out."""

    voice: VoiceLike | None
    """A name or an id; or a recording, which goes with the request and is not kept by the server."""
    model: str | None
    language: str | None
    """BCP-47 tag; detected when left out."""
    instruction: str | None
    """How to speak, in words, for models that take one."""
    seed: int | None
    """The same seed gives the same speech; drawn and returned when left out."""
    session_id: str | None
    """The caller's own name for a run of requests."""
    emotion: Emotion | Mapping[str, float] | None
    speaking_rate: float | None
    """0.5 to 2: 2 is twice as fast."""
    priority: Literal["interactive", "batch"] | None
    max_first_audio_ms: int | None
    """The call ends with a `DeadlineError` when no audio was sent by then."""
    timeout: float | None
    """Seconds that the whole call may take, with its retries."""

    sampling: Sampling | None
    render: Render | None
    params: Mapping[str, float] | None
    """Further numbers of `Model.parameters`, by name."""

    glossary: Mapping[str, str] | None
    """Terms with what is said instead."""
    disabled_rules: Sequence[str] | None
    """Names of `Model.text_rules` to go without."""
    max_segment_tokens: int | None

    encoding: Encoding | None
    """Of `data`; ``linear16`` when left out. Samples are float32 whatever it is."""
    sample_rate_hz: int | None
    """8000 to 48000; the model's own when left out."""
    chunk_ms: int | None
    """Length of each piece of a stream, 20 to 100; 0 sends what is rendered as it comes."""
    segment_gap_ms: int | None
    """Silence between two segments, 0 to 2000."""
    tail_silence_ms: int | None
    """Silence at the end, 0 to 2000."""
