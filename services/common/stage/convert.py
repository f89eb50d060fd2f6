"""Between the stage protocol's messages and this package's own types."""

from __future__ import annotations

import time

from protos.tts.stages.v1 import stage_pb2
from services.common import tensors
from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage import checks
from services.common.stage.policy import POLICY_RANGES, Policy
from services.common.stage.session import Chunk, FinishReason, ResumePoint, Session, Stats
from services.common.stage.spec import Edge, ParamSpec, StageSpec, TensorSpec, VoiceStep


def spec_to_proto(spec: StageSpec, *, worker: str) -> stage_pb2.DescribeResponse:
    device = spec.device
    return stage_pb2.DescribeResponse(
        stage=spec.stage,
        model=stage_pb2.ModelIdentity(name=spec.model, revision=spec.revision),
        takes=_edge_to_proto(spec.takes),
        gives=_edge_to_proto(spec.gives),
        voice_steps=[_step_to_proto(step) for step in spec.voice_steps],
        conditions=[_tensor_spec_to_proto(item) for item in spec.conditions],
        options=[_tensor_spec_to_proto(item) for item in spec.options],
        params=[_param_to_proto(item) for item in spec.params],
        policies=[policy_to_proto(policy) for policy in spec.policies],
        slots=spec.slots,
        worker=worker,
        device=stage_pb2.Device(name=device.name, kind=device.kind, provider=device.provider, dtype=device.dtype),
        languages=spec.languages,
        text=stage_pb2.TextSpec(max_tokens_per_segment=spec.max_tokens_per_segment),
        voice_modes=[stage_pb2.VoiceMode.ValueType(int(mode)) for mode in spec.voice_modes],
        speakers=spec.speakers,
        takes_instruction=spec.takes_instruction,
        option_steps=[_step_to_proto(step) for step in spec.option_steps],
    )


def policy_to_proto(policy: Policy) -> stage_pb2.Policy:
    return stage_pb2.Policy(
        name=policy.name,
        is_whole=policy.is_whole,
        first_window_codes=policy.first_window_codes,
        window_growth=policy.window_growth,
        max_window_codes=policy.max_window_codes,
        look_ahead_codes=policy.look_ahead_codes,
        prefix_codes=policy.prefix_codes,
        prompt_seconds=policy.prompt_seconds,
        vocoder_context_frames=policy.vocoder_context_frames,
        vocoder_look_ahead_frames=policy.vocoder_look_ahead_frames,
        codes_per_chunk=policy.codes_per_chunk,
        crossfade_frames=policy.crossfade_frames,
        params=policy.params,
    )


def policy_from_proto(message: stage_pb2.Policy, default: Policy) -> Policy:
    """Fill what the message leaves at 0 from the model's default.

    Raises:
        InvalidRequestError: A number is out of its range.
    """
    policy = Policy(
        name=message.name or default.name,
        is_whole=message.is_whole,
        first_window_codes=message.first_window_codes or default.first_window_codes,
        window_growth=message.window_growth or default.window_growth,
        max_window_codes=message.max_window_codes or default.max_window_codes,
        look_ahead_codes=message.look_ahead_codes,
        prefix_codes=message.prefix_codes,
        prompt_seconds=message.prompt_seconds or default.prompt_seconds,
        vocoder_context_frames=message.vocoder_context_frames,
        vocoder_look_ahead_frames=message.vocoder_look_ahead_frames,
        codes_per_chunk=message.codes_per_chunk or default.codes_per_chunk,
        crossfade_frames=message.crossfade_frames,
    )
    for name, (least, most) in POLICY_RANGES.items():
        value = getattr(policy, name)
        if not least <= value <= most:
            raise InvalidRequestError(
                f"{name} is {value:g}; {least:g} to {most:g} is allowed",
                field=f"open.policy.{name}",
                reason=Reason.OUT_OF_RANGE,
            )
    if policy.max_window_codes < policy.first_window_codes:
        raise InvalidRequestError(
            "max_window_codes is less than first_window_codes",
            field="open.policy.max_window_codes",
            reason=Reason.FIELD_CONFLICT,
        )
    return policy


def session_from_open(message: stage_pb2.Open, spec: StageSpec, *, time_left_seconds: float | None) -> Session:
    """Check an Open against what the stage says of itself; the voice is still to come.

    Raises:
        WrongModelError: It is meant for another model or revision.
        InvalidRequestError: A field holds what the stage does not have, or what is out of range.
    """
    checks.check_model(message.model.name, message.model.revision, spec, field="open.model")
    checks.check_instruction(message.instruction, spec)
    checks.check_speaker(message.speaker, spec)
    checks.check_language(message.language, spec)
    has_policy = message.HasField("policy")
    return Session(
        utterance_id=message.utterance_id,
        seed=message.seed,
        policy=policy_from_proto(message.policy, spec.default_policy) if has_policy else spec.default_policy,
        params=checks.complete_params(message.params, spec),
        options=_options(message, spec),
        voice={},
        resume=_resume(message),
        priority=message.priority,
        deadline=_deadline(message, time_left_seconds),
        instruction=message.instruction,
        speaker=message.speaker,
        language=message.language,
    )


def chunk_to_proto(chunk: Chunk) -> stage_pb2.Chunk:
    return stage_pb2.Chunk(
        segment=chunk.segment,
        start=chunk.start,
        tensors=tensors.to_proto(chunk.tensors),
        is_segment_end=chunk.is_segment_end,
        finish_reason=stage_pb2.FinishReason.ValueType(int(chunk.finish_reason)),
    )


def chunk_from_proto(message: stage_pb2.Chunk) -> Chunk:
    """Raise InvalidRequestError when a tensor or the finish reason is none."""
    if message.finish_reason not in stage_pb2.FinishReason.values():
        allowed = ", ".join(stage_pb2.FinishReason.keys())
        raise InvalidRequestError(f"the finish reason is not one of: {allowed}", field="chunk.finish_reason")
    return Chunk(
        segment=message.segment,
        start=message.start,
        tensors=tensors.from_proto(message.tensors),
        is_segment_end=message.is_segment_end,
        finish_reason=FinishReason(message.finish_reason),
    )


def stats_to_proto(stats: Stats) -> stage_pb2.RunStats:
    return stage_pb2.RunStats(
        steps=stats.steps,
        items=stats.items,
        compute_ms=1000 * stats.compute_seconds,
        wait_ms=1000 * stats.wait_seconds,
        max_batch_size=stats.max_batch_size,
    )


def _options(message: stage_pb2.Open, spec: StageSpec) -> Tensors:
    options = tensors.from_proto(message.options)
    checks.check_options(options, spec)
    return options


def _resume(message: stage_pb2.Open) -> ResumePoint | None:
    if not message.HasField("resume"):
        return None
    resume = message.resume
    if resume.next_index < 0:
        raise InvalidRequestError(
            f"next_index is {resume.next_index}; 0 or more is allowed",
            field="open.resume.next_index",
            reason=Reason.OUT_OF_RANGE,
        )
    return ResumePoint(resume.segment, resume.next_index, tensors.from_proto(resume.state))


def _deadline(message: stage_pb2.Open, time_left_seconds: float | None) -> float | None:
    now = time.monotonic()
    ends = []
    if message.deadline_unix_ms:
        ends.append(now + message.deadline_unix_ms / 1000 - time.time())
    if time_left_seconds is not None:
        ends.append(now + time_left_seconds)
    return min(ends) if ends else None


def _edge_to_proto(edge: Edge) -> stage_pb2.Edge:
    return stage_pb2.Edge(
        kind=stage_pb2.EdgeKind.ValueType(int(edge.kind)),
        rate_numerator=edge.rate_numerator,
        rate_denominator=edge.rate_denominator,
        codebooks=edge.codebooks,
        vocabulary=edge.vocabulary,
        latent_width=edge.latent_width,
        mel_bins=edge.mel_bins,
        sample_rate_hz=edge.sample_rate_hz,
        tensors=[_tensor_spec_to_proto(item) for item in edge.tensors],
        look_ahead=edge.look_ahead,
    )


def _step_to_proto(step: VoiceStep) -> stage_pb2.VoiceStep:
    return stage_pb2.VoiceStep(
        name=step.name,
        takes=[item.name for item in step.takes],
        gives=step.gives,
        max_audio_seconds=step.max_audio_seconds,
    )


def _tensor_spec_to_proto(spec: TensorSpec) -> stage_pb2.TensorSpec:
    return stage_pb2.TensorSpec(name=spec.name, dtype=spec.dtype, shape=spec.shape, is_optional=spec.is_optional)


def _param_to_proto(param: ParamSpec) -> stage_pb2.ParamSpec:
    return stage_pb2.ParamSpec(
        name=param.name,
        minimum=param.minimum,
        maximum=param.maximum,
        default_value=param.default,
        description=param.description,
        is_integer=param.is_integer,
    )
