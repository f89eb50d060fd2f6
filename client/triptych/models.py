"""What a server's models can do and where their stages run."""

from __future__ import annotations

from dataclasses import dataclass

from protos.tts.v1 import models_pb2


@dataclass(frozen=True)
class Limits:
    """What a request may hold at most."""

    max_unary_characters: int
    max_stream_characters: int
    max_segment_tokens: int
    max_voice_seconds: float
    max_voice_bytes: int


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


@dataclass(frozen=True)
class Model:
    """A model that the server speaks with."""

    name: str
    revision: str
    is_default: bool
    languages: tuple[str, ...]
    sample_rate_hz: int
    capabilities: tuple[str, ...]
    limits: Limits
    stages: tuple[Stage, ...]
    parameters: tuple[Parameter, ...]


def model_from_proto(model: models_pb2.Model) -> Model:
    limits = model.limits
    return Model(
        name=model.name,
        revision=model.revision,
        is_default=model.is_default,
        languages=tuple(model.languages),
        sample_rate_hz=model.sample_rate_hz,
        capabilities=tuple(model.capabilities),
        limits=Limits(
            max_unary_characters=limits.max_unary_characters,
            max_stream_characters=limits.max_stream_characters,
            max_segment_tokens=limits.max_segment_tokens,
            max_voice_seconds=limits.max_voice_seconds,
            max_voice_bytes=limits.max_voice_bytes,
        ),
        stages=tuple(_stage(stage) for stage in model.stages),
        parameters=tuple(_parameter(parameter) for parameter in model.parameters),
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
    )
