"""What a caller may ask for beside the text; what is left out is the server's own default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TypedDict

from protos.tts.v1 import synthesis_pb2
from triptych.errors import ErrorDetails, InvalidRequestError

EMOTIONS = ("happy", "angry", "sad", "afraid", "disgusted", "melancholic", "surprised", "calm")

VoiceLike = str | PathLike[str] | bytes
"""Name or id of a registered voice, or the path or the bytes of a recording."""


@dataclass(frozen=True)
class Emotion:
    """How the speech should feel: strengths by name, or a recording that carries the feeling."""

    strengths: Mapping[str, float] | None = None
    """0 to 1 for any of `EMOTIONS`."""
    voice: VoiceLike | None = None
    weight: float | None = None
    """0 to 1: scales the strengths, or blends from the speaker's own emotion to the recording's."""
    is_normalized: bool = False
    """Applies the published web interface's bias to the strengths and limits their sum."""


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
    segment_gap_ms: int | None = None
    max_segment_tokens: int | None = None


class Options(TypedDict, total=False):
    """Keyword arguments of every call that speaks."""

    voice: VoiceLike
    model: str
    seed: int
    emotion: Emotion | Mapping[str, float]
    sampling: Sampling
    render: Render
    session_id: str
    timeout: float
    """Seconds that the whole call may take."""


def config_to_proto(options: Options, voice: str, emotion_voice: str) -> synthesis_pb2.SynthesisConfig:
    """Return `options` as a message; both voices are already names or ids.

    Raises:
        InvalidRequestError: if a value has no place in the message.
    """
    try:
        return synthesis_pb2.SynthesisConfig(
            model=options.get("model", ""),
            voice=voice,
            seed=options.get("seed"),
            emotion=_emotion(options, emotion_voice),
            sampling=_sampling(options.get("sampling")),
            render=_render(options.get("render")),
            session_id=options.get("session_id", ""),
        )
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(f"options: {error}", ErrorDetails(field="config")) from None


def emotion_of(options: Options) -> Emotion | None:
    emotion = options.get("emotion")
    return Emotion(strengths=emotion) if isinstance(emotion, Mapping) else emotion


def _emotion(options: Options, voice: str) -> synthesis_pb2.Emotion | None:
    emotion = emotion_of(options)
    if emotion is None:
        return None
    if emotion.strengths is not None and emotion.voice is not None:
        raise ValueError("an emotion has strengths or a voice, not both")
    if emotion.voice is not None:
        return synthesis_pb2.Emotion(voice=voice, weight=emotion.weight)
    strengths = dict(emotion.strengths or {})
    if unknown := sorted(set(strengths) - set(EMOTIONS)):
        raise ValueError(f"no emotion is called {', '.join(unknown)}; known: {', '.join(EMOTIONS)}")
    vector = synthesis_pb2.EmotionVector(is_normalized=emotion.is_normalized)
    for name, strength in strengths.items():
        setattr(vector, name, strength)
    return synthesis_pb2.Emotion(vector=vector, weight=emotion.weight)


def _sampling(sampling: Sampling | None) -> synthesis_pb2.SamplingConfig | None:
    if sampling is None:
        return None
    return synthesis_pb2.SamplingConfig(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        repetition_penalty=sampling.repetition_penalty,
        max_codes=sampling.max_codes,
        is_greedy=sampling.is_greedy,
    )


def _render(render: Render | None) -> synthesis_pb2.RenderConfig | None:
    if render is None:
        return None
    return synthesis_pb2.RenderConfig(
        steps=render.steps,
        cfg_rate=render.cfg_rate,
        policy=render.policy,
        segment_gap_ms=render.segment_gap_ms,
        max_segment_tokens=render.max_segment_tokens,
    )
