"""What the workers said of themselves as the public messages about models."""

from __future__ import annotations

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import models_pb2, synthesis_pb2
from services.frontend.audio import Encoding
from services.frontend.request.capabilities import COMPAT_PARAM, RATE_PARAM, capabilities, policies
from services.frontend.request.parameters import rate_range
from services.frontend.request.public_paths import field_of_param
from services.frontend.request.validation import named_policy
from services.frontend.text import TextFrontend
from services.frontend.workers.topology import Pipeline, Pool


def model_to_proto(
    pipeline: Pipeline,
    frontend: TextFrontend,
    limits: models_pb2.ModelLimits,
    *,
    is_default: bool,
    default_policy: str = "",
) -> models_pb2.Model:
    """What callers may know of a model.

    Args:
        pipeline: The model's stages.
        frontend: Its text front end.
        limits: What a request may hold.
        is_default: Whether requests that name no model mean this one.
        default_policy: The operator's choice for requests that name no policy.
    """
    names = policies(pipeline, default_policy)
    return models_pb2.Model(
        name=pipeline.model,
        revision=pipeline.revision,
        is_default=is_default,
        languages=frontend.languages,
        sample_rate_hz=pipeline.sample_rate_hz,
        capabilities=capabilities(pipeline),
        limits=limits,
        stages=[stage for pool in pipeline.pools for stage in _stages(pool)],
        parameters=[_parameter(spec) for name, spec in pipeline.params().items() if name != COMPAT_PARAM],
        voice_modes=[models_pb2.VoiceMode.ValueType(mode) for mode in pipeline.voice_modes],
        speakers=pipeline.speakers,
        policies=names,
        policy_numbers=[_policy(named_policy(name, pipeline)) for name in names],
        text_rules=frontend.rules,
        encodings=[synthesis_pb2.AudioEncoding.ValueType(int(encoding)) for encoding in Encoding],
    )


def _policy(policy: stage_pb2.Policy) -> models_pb2.ModelPolicy:
    return models_pb2.ModelPolicy(
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
        params=policy.params,
    )


def _parameter(spec: stage_pb2.ParamSpec) -> models_pb2.ModelParameter:
    if spec.name == RATE_PARAM:
        return _speaking_rate(spec)
    return models_pb2.ModelParameter(
        name=spec.name,
        minimum=spec.minimum,
        maximum=spec.maximum,
        default_value=spec.default_value,
        description=spec.description,
        is_integer=spec.is_integer,
        field=field_of_param(spec.name),
    )


def _speaking_rate(spec: stage_pb2.ParamSpec) -> models_pb2.ModelParameter:
    """A duration factor as callers know it: by its inverse."""
    minimum, maximum = rate_range(spec)
    return models_pb2.ModelParameter(
        name="speaking_rate",
        minimum=minimum,
        maximum=maximum,
        default_value=1 / (spec.default_value or 1),
        description="2 is twice as fast",
        field=field_of_param(RATE_PARAM),
    )


def _stages(pool: Pool) -> list[models_pb2.ModelStage]:
    return [
        models_pb2.ModelStage(
            name=pool.stage,
            worker=link.about.worker,
            device=link.about.device.name,
            provider=link.about.device.provider,
            dtype=link.about.device.dtype,
            slots=link.about.slots,
            is_serving=link.takes_streams,
        )
        for link in pool.links
        if link.about is not None
    ]
