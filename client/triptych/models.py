"""What a server's models can do and where their stages run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protos.tts.v1 import models_pb2, synthesis_pb2
from triptych.enums import names_of


@dataclass(frozen=True)
class Limits:
    """What a request may hold."""

    max_unary_characters: int
    max_stream_characters: int
    """Of a text that is streamed, and of one message of a text that is still being written."""
    max_segment_tokens: int
    min_voice_seconds: float
    max_voice_seconds: float
    used_voice_seconds: float
    """How much of a recording's beginning is used."""
    max_voice_bytes: int
    """Of a recording that is registered."""
    max_inline_voice_bytes: int
    """Of a recording that comes with a request."""
    min_sample_rate_hz: int
    max_sample_rate_hz: int
    min_chunk_ms: int
    max_chunk_ms: int
    max_glossary_terms: int


@dataclass(frozen=True)
class Stage:
    """One stage of a model, on one worker."""

    name: str
    worker: str
    device: str
    provider: str
    dtype: str
    slots: int
    is_serving: bool


@dataclass(frozen=True)
class Parameter:
    """A number that a request may set, with its range."""

    name: str
    minimum: float
    maximum: float
    default: float
    description: str
    is_integer: bool
    field: str
    """The field of a request that sets it, such as ``config.params[length_penalty]``."""


@dataclass(frozen=True)
class Policy:
    """How speech is rendered and streamed under one of `Render.policy`'s names."""

    name: str
    is_whole: bool
    """Every segment is rendered at once; the numbers of windows then mean nothing."""
    codes_per_chunk: int
    first_window_codes: int
    window_growth: float
    max_window_codes: int
    look_ahead_codes: int
    prefix_codes: int
    prompt_seconds: float
    """How much of the voice's recording a window sees."""
    crossfade_frames: int
    vocoder_context_frames: int
    vocoder_look_ahead_frames: int
    params: Mapping[str, float]
    """Parameters that have these values where a request sets none."""


@dataclass(frozen=True)
class Model:
    """A model that the server speaks with."""

    name: str
    revision: str
    is_default: bool
    languages: tuple[str, ...]
    """BCP-47 tags."""
    sample_rate_hz: int
    """The model's own rate; others are resampled."""
    capabilities: tuple[str, ...]
    limits: Limits
    stages: tuple[Stage, ...]
    parameters: tuple[Parameter, ...]
    voice_modes: tuple[str, ...]
    """``named``, ``reference`` and ``reference_with_transcript``."""
    speakers: tuple[str, ...]
    """Voices that are part of the model."""
    policies: tuple[str, ...]
    """Names for `Render.policy`; the first is the default."""
    text_rules: tuple[str, ...]
    """Names for `disabled_rules`."""
    encodings: tuple[str, ...]
    policy_numbers: tuple[Policy, ...] = ()
    """The numbers behind `policies`, in the same order; empty when the server does not tell them."""


def model_from_proto(model: models_pb2.Model) -> Model:
    return Model(
        name=model.name,
        revision=model.revision,
        is_default=model.is_default,
        languages=tuple(model.languages),
        sample_rate_hz=model.sample_rate_hz,
        capabilities=tuple(model.capabilities),
        limits=_limits(model.limits),
        stages=tuple(_stage(stage) for stage in model.stages),
        parameters=tuple(_parameter(parameter) for parameter in model.parameters),
        voice_modes=names_of(models_pb2.VoiceMode, model.voice_modes),
        speakers=tuple(model.speakers),
        policies=tuple(model.policies),
        text_rules=tuple(model.text_rules),
        encodings=names_of(synthesis_pb2.AudioEncoding, model.encodings),
        policy_numbers=tuple(_policy(policy) for policy in model.policy_numbers),
    )


def _limits(limits: models_pb2.ModelLimits) -> Limits:
    return Limits(
        max_unary_characters=limits.max_unary_characters,
        max_stream_characters=limits.max_stream_characters,
        max_segment_tokens=limits.max_segment_tokens,
        min_voice_seconds=limits.min_voice_seconds,
        max_voice_seconds=limits.max_voice_seconds,
        used_voice_seconds=limits.used_voice_seconds,
        max_voice_bytes=limits.max_voice_bytes,
        max_inline_voice_bytes=limits.max_inline_voice_bytes,
        min_sample_rate_hz=limits.min_sample_rate_hz,
        max_sample_rate_hz=limits.max_sample_rate_hz,
        min_chunk_ms=limits.min_chunk_ms,
        max_chunk_ms=limits.max_chunk_ms,
        max_glossary_terms=limits.max_glossary_terms,
    )


def _policy(policy: models_pb2.ModelPolicy) -> Policy:
    return Policy(
        name=policy.name,
        is_whole=policy.is_whole,
        codes_per_chunk=policy.codes_per_chunk,
        first_window_codes=policy.first_window_codes,
        window_growth=policy.window_growth,
        max_window_codes=policy.max_window_codes,
        look_ahead_codes=policy.look_ahead_codes,
        prefix_codes=policy.prefix_codes,
        prompt_seconds=policy.prompt_seconds,
        crossfade_frames=policy.crossfade_frames,
        vocoder_context_frames=policy.vocoder_context_frames,
        vocoder_look_ahead_frames=policy.vocoder_look_ahead_frames,
        params=dict(policy.params),
    )


def _stage(stage: models_pb2.ModelStage) -> Stage:
    return Stage(
        name=stage.name,
        worker=stage.worker,
        device=stage.device,
        provider=stage.provider,
        dtype=stage.dtype,
        slots=stage.slots,
        is_serving=stage.is_serving,
    )


def _parameter(parameter: models_pb2.ModelParameter) -> Parameter:
    return Parameter(
        name=parameter.name,
        minimum=parameter.minimum,
        maximum=parameter.maximum,
        default=parameter.default_value,
        description=parameter.description,
        is_integer=parameter.is_integer,
        field=parameter.field,
    )
