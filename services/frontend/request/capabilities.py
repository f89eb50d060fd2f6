"""What a model can do besides speaking, read from what its stages say of themselves. Pure."""

from __future__ import annotations

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.workers.step import Step
from services.frontend.workers.topology import Pipeline

EMOTION_OPTION = "emotion_"
OWN_CONDITION = "self_"
VECTOR_OPTION = "emotion_vector"
EMOTION_TEXT = "emotion_text"
RATE_PARAM = "duration_factor"
COMPAT_PARAM = "compat"

REFERENCE_MODES = {stage_pb2.VOICE_MODE_REFERENCE, stage_pb2.VOICE_MODE_REFERENCE_WITH_TRANSCRIPT}


def capabilities(pipeline: Pipeline) -> list[str]:
    """Names of what a request may use with this model."""
    has = {
        "emotion_vector": VECTOR_OPTION in pipeline.options(),
        "emotion_voice": bool(emotion_pairs(pipeline)),
        "emotion_text": emotion_text_step(pipeline) is not None,
        "instruction": pipeline.takes_instruction,
        "speaking_rate": RATE_PARAM in pipeline.params(),
    }
    return [name for name, is_there in has.items() if is_there]


def emotion_pairs(pipeline: Pipeline) -> dict[str, str]:
    """Options that take another voice's emotion, each with the condition that holds a voice's own."""
    conditions = pipeline.conditions()
    pairs = {name: OWN_CONDITION + name.removeprefix(EMOTION_OPTION) for name in pipeline.options()}
    return {
        option: condition
        for option, condition in pairs.items()
        if option.startswith(EMOTION_OPTION) and condition in conditions
    }


def emotion_text_step(pipeline: Pipeline) -> Step | None:
    """The step that reads an emotion out of a text."""
    steps = (Step(pool, step) for pool in pipeline.pools for step in pool.option_steps)
    return next((step for step in steps if list(step.spec.takes) == [EMOTION_TEXT]), None)


def policies(pipeline: Pipeline, preferred: str = "") -> list[str]:
    """Names of the policies, the default one first.

    Args:
        pipeline: The model's.
        preferred: The policy that the operator wants for the default; without effect where the model lacks it.
    """
    compat = ["compat"] if COMPAT_PARAM in pipeline.params() else []
    names = dict.fromkeys([*(policy.name for policy in pipeline.policies), "whole", *compat])
    return sorted(names, key=lambda name: name != preferred)


def speaks_references(pipeline: Pipeline) -> bool:
    """Whether the model can speak in the voice of a recording."""
    return not REFERENCE_MODES.isdisjoint(pipeline.voice_modes)


def speaks_transcripts(pipeline: Pipeline) -> bool:
    return stage_pb2.VOICE_MODE_REFERENCE_WITH_TRANSCRIPT in pipeline.voice_modes


def missing(capability: str, path: str, pipeline: Pipeline, *, allowed: str = "") -> InvalidRequestError:
    """The refusal of a field that the model cannot honour.

    Args:
        capability: What the model lacks.
        path: The field that asks for it.
        pipeline: The model's.
        allowed: What it can do instead; its capabilities unless given.
    """
    has = allowed or f"it has: {', '.join(capabilities(pipeline)) or 'no capabilities'}"
    return InvalidRequestError(
        f"model {pipeline.model!r} cannot honour {path}; {has}",
        field=path,
        reason=Reason.CAPABILITY_MISSING,
        metadata={"capability": capability},
    )
