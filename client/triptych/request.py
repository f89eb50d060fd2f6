"""From a caller's options to the message that asks for speech."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import cast

from protos.tts.v1 import synthesis_pb2
from triptych.enums import number_of
from triptych.errors import ConfigError, ErrorDetails, TokenizerError
from triptych.message_fields import fill, put_number, put_text
from triptych.options import EMOTIONS, Emotion, Options, Render, Sampling
from triptych.recording import RecordingFile

_PLAIN_OPTIONS = (
    "model",
    "language",
    "instruction",
    "seed",
    "session_id",
    "speaking_rate",
    "max_first_audio_ms",
)
_TEXT_OPTIONS = ("glossary", "disabled_rules", "max_segment_tokens")
_AUDIO_OPTIONS = ("encoding", "sample_rate_hz", "chunk_ms", "segment_gap_ms", "tail_silence_ms")

_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "emotion": ((Emotion, Mapping), "an Emotion or a mapping of strengths by name"),
    "sampling": (Sampling, "a Sampling"),
    "render": (Render, "a Render"),
    "params": (Mapping, "a mapping of numbers by name"),
    "glossary": (Mapping, "a mapping of terms to readings"),
    "disabled_rules": (Iterable, "a sequence of names"),
    "timeout": ((int, float), "a number of seconds"),
}
"""Of the options that are no field of a message; `fill` looks at the others."""


def given(options: Options) -> Options:
    """Return the options that are set: None is the same as left out.

    Raises:
        TypeError: as any other function does, for keywords that there are not, which a `TypedDict` lets pass, and
            for values of the wrong kind.
    """
    for name in options.keys() - Options.__annotations__.keys():
        raise TypeError(f"unexpected keyword argument {name!r}")
    is_set = {name: value for name, value in options.items() if value is not None}
    for name, (kind, words) in _KINDS.items():
        if name in is_set and (not isinstance(is_set[name], kind) or isinstance(is_set[name], (str, bytes))):
            raise TypeError(f"{name} is {words}, not {type(is_set[name]).__name__}")
    return cast("Options", is_set)


def check_text(text: str) -> None:
    """Refuse what no message can carry.

    Raises:
        TypeError: if it is no text.
        TokenizerError: if there is half a character in it.
    """
    if not isinstance(text, str):
        raise TypeError(f"text is a str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        message = "the text holds half a character (a lone surrogate)"
        raise TokenizerError(message, ErrorDetails(reason="TEXT_BAD_CHARACTER", field="text")) from None


def config_message(
    options: Options, voice: str | RecordingFile | None, emotion_voice: str | None
) -> synthesis_pb2.SynthesisConfig:
    """Return `options` as a message.

    Args:
        options: Those that are set.
        voice: Whose voice, resolved: a name or id, or a recording.
        emotion_voice: Name or id of the voice of the emotion.

    Raises:
        TypeError: if a value is of the wrong kind.
        ConfigError: if a value has no place in the message.
    """
    config = synthesis_pb2.SynthesisConfig(
        emotion=_emotion(options, emotion_voice),
        sampling=_sampling(options.get("sampling")),
        render=_render(options.get("render")),
        text=_text(options),
        audio=_audio(options),
    )
    fill(config, _some(options, _PLAIN_OPTIONS), path="config")
    for name, value in (options.get("params") or {}).items():
        path = f"config.params[{name}]"
        put_number(value, partial(config.params.__setitem__, name), option=f"params[{name}]", path=path)
    if (priority := options.get("priority")) is not None:
        config.priority = number_of(synthesis_pb2.Priority, priority, field="config.priority")
    match voice:
        case str():
            fill(config, {"voice": voice}, path="config")
        case RecordingFile():
            config.recording.audio = voice.data
            fill(config.recording, {"transcript": voice.transcript}, path="config.recording", option="recording")
    return config


def emotion_of(options: Options) -> Emotion | None:
    """Return the emotion that is asked for.

    Raises:
        ConfigError: if not all that is set in it has a place in the message.
    """
    emotion = options.get("emotion")
    if emotion is None:
        return None
    if not isinstance(emotion, Emotion):
        return Emotion(strengths=emotion)
    kinds = sum(kind is not None for kind in (emotion.strengths, emotion.voice, emotion.text))
    if kinds != 1:
        raise _conflict("an emotion has exactly one of: strengths, a voice, a text")
    if emotion.is_normalized and emotion.strengths is None:
        raise _conflict("is_normalized of an emotion goes with strengths alone, not with a voice or a text")
    return emotion


def _emotion(options: Options, voice: str | None) -> synthesis_pb2.Emotion | None:
    emotion = emotion_of(options)
    if emotion is None:
        return None
    message = synthesis_pb2.Emotion()
    fill(
        message,
        {"weight": emotion.weight, "text": emotion.text, "voice": voice},
        path="config.emotion",
        option="emotion",
    )
    if emotion.strengths is not None:
        message.vector.CopyFrom(_vector(emotion.strengths, is_normalized=emotion.is_normalized))
    return message


def _vector(strengths: Mapping[str, float], *, is_normalized: bool) -> synthesis_pb2.EmotionVector:
    if unknown := sorted(str(name) for name in set(strengths) - set(EMOTIONS)):
        message = f"no emotion is called {', '.join(unknown)}; known: {', '.join(EMOTIONS)}"
        raise ConfigError(message, ErrorDetails(reason="FIELD_INVALID", field="config.emotion.vector"))
    vector = synthesis_pb2.EmotionVector(is_normalized=is_normalized)
    fill(vector, strengths, path="config.emotion.vector", option="emotion")
    return vector


def _sampling(sampling: Sampling | None) -> synthesis_pb2.SamplingConfig | None:
    if sampling is None:
        return None
    message = synthesis_pb2.SamplingConfig()
    fill(message, vars(sampling), path="config.sampling", option="sampling")
    return message


def _render(render: Render | None) -> synthesis_pb2.RenderConfig | None:
    if render is None:
        return None
    message = synthesis_pb2.RenderConfig()
    fill(message, vars(render), path="config.render", option="render")
    return message


def _text(options: Options) -> synthesis_pb2.TextConfig | None:
    if not options.keys() & set(_TEXT_OPTIONS):
        return None
    message = synthesis_pb2.TextConfig()
    fill(message, _some(options, ("max_segment_tokens",)), path="config.text")
    for term, reading in (options.get("glossary") or {}).items():
        fill(message.glossary.add(), {"term": term, "reading": reading}, path="config.text.glossary", option="glossary")
    for rule in options.get("disabled_rules") or ():
        put_text(
            rule, message.disabled_rules.append, option="each of disabled_rules", path="config.text.disabled_rules"
        )
    return message


def _audio(options: Options) -> synthesis_pb2.AudioConfig | None:
    if not options.keys() & set(_AUDIO_OPTIONS):
        return None
    message = synthesis_pb2.AudioConfig()
    fill(message, _some(options, _AUDIO_OPTIONS[1:]), path="config.audio")
    if (encoding := options.get("encoding")) is not None:
        message.encoding = number_of(synthesis_pb2.AudioEncoding, encoding, field="config.audio.encoding")
    return message


def _some(options: Options, names: Iterable[str]) -> dict[str, object]:
    values = cast("Mapping[str, object]", options)
    return {name: values[name] for name in names if name in values}


def _conflict(message: str) -> ConfigError:
    return ConfigError(message, ErrorDetails(reason="FIELD_CONFLICT", field="config.emotion"))
