"""Checks of request fields against what is allowed and what the model can do. Errors name the field's path."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import structlog

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import synthesis_pb2
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.request import capabilities
from services.frontend.text.options import primary
from services.frontend.workers.topology import Pipeline

logger = structlog.get_logger(__name__)

MAX_SESSION_ID = 128
MAX_INSTRUCTION_CHARACTERS = 2_000
MAX_FIRST_AUDIO_MS = 600_000
COMPAT_POLICY = "compat"
EMOTIONS = ("happy", "angry", "sad", "afraid", "disgusted", "melancholic", "surprised", "calm")


def in_range(value: float, minimum: float, maximum: float, path: str, *, excludes_minimum: bool = False) -> float:
    """Give the value back, or raise InvalidRequestError."""
    # A NaN is in no range: every comparison with it is false.
    if minimum <= value <= maximum and not (excludes_minimum and value == minimum):
        return value
    low = f"above {minimum:g}" if excludes_minimum else f"{minimum:g}"
    raise InvalidRequestError(
        f"{path} is {value:g}; {low} to {maximum:g} is allowed",
        field=path,
        reason=Reason.OUT_OF_RANGE,
        metadata={"minimum": f"{minimum:g}", "maximum": f"{maximum:g}"},
    )


def at_most(text: str, maximum: int, path: str) -> str:
    """Give a text back, or raise InvalidRequestError when it has too many characters."""
    if len(text) > maximum:
        raise InvalidRequestError(
            f"{path} has {len(text)} characters; at most {maximum} are allowed",
            field=path,
            reason=Reason.OUT_OF_RANGE,
            metadata={"maximum": str(maximum)},
        )
    return text


def session_id(value: str) -> str:
    """A session id goes into metadata and logs: it must be short and printable."""
    if len(value) > MAX_SESSION_ID or not (value.isascii() and value.isprintable()):
        raise InvalidRequestError(
            f"config.session_id is 0 to {MAX_SESSION_ID} printable ASCII characters",
            field="config.session_id",
            reason=Reason.OUT_OF_RANGE,
        )
    return value


def emotion_strengths(vector: synthesis_pb2.EmotionVector) -> list[float]:
    return [in_range(getattr(vector, name), 0.0, 1.0, f"config.emotion.vector.{name}") for name in EMOTIONS]


def instruction(config: synthesis_pb2.SynthesisConfig, pipeline: Pipeline) -> str:
    """How to speak, in words.

    Raises:
        InvalidRequestError: No stage of the model takes an instruction, or it is too long.
    """
    if config.instruction and not pipeline.takes_instruction:
        raise capabilities.missing("instruction", "config.instruction", pipeline)
    return at_most(config.instruction, MAX_INSTRUCTION_CHARACTERS, "config.instruction")


def max_first_audio_ms(config: synthesis_pb2.SynthesisConfig) -> int:
    """The limit of the wait for audio; 0 when there is none."""
    if not config.HasField("max_first_audio_ms"):
        return 0
    return int(in_range(config.max_first_audio_ms, 1, MAX_FIRST_AUDIO_MS, "config.max_first_audio_ms"))


def policy(config: synthesis_pb2.SynthesisConfig, pipeline: Pipeline, preferred: str = "") -> stage_pb2.Policy:
    """The streaming policy that a request means, by its name.

    Args:
        config: The request's.
        pipeline: The model's.
        preferred: The operator's choice for requests that name none; a model that lacks it uses its first.

    Raises:
        InvalidRequestError: There is no such policy.
    """
    names = capabilities.policies(pipeline, preferred)
    name = config.render.policy or names[0]
    if name not in names:
        raise InvalidRequestError(
            f"config.render.policy is not one of: {', '.join(names)}",
            field="config.render.policy",
            reason=Reason.OUT_OF_RANGE,
        )
    if preferred and not config.render.policy and name != preferred:
        _tell_of_missing_policy(pipeline.model, preferred, name)
    return named_policy(name, pipeline)


def named_policy(name: str, pipeline: Pipeline) -> stage_pb2.Policy:
    """The numbers of one of the model's policies; `compat`, and an unstated `whole`, are its first in one window."""
    chosen = stage_pb2.Policy()
    stated = next((policy for policy in pipeline.policies if policy.name == name), None)
    if stated is not None:
        chosen.CopyFrom(stated)
    else:
        chosen.CopyFrom(pipeline.policies[0])
        chosen.name, chosen.is_whole = name, True
        chosen.params.clear()
    return chosen


@cache
def _tell_of_missing_policy(model: str, preferred: str, used: str) -> None:
    """Once for each model, not for each request."""
    logger.warning("default_policy_missing", model=model, policy=preferred, used=used)


def check_arriving(policy: stage_pb2.Policy) -> None:
    """Refuse a policy that a text which is still being written cannot have.

    Raises:
        InvalidRequestError: The policy needs the whole text at once.
    """
    if policy.name == COMPAT_POLICY:
        raise InvalidRequestError(
            "policy compat needs the whole text at once; StreamingSynthesize takes the others",
            field="config.render.policy",
            reason=Reason.FIELD_CONFLICT,
        )


def model_language(tag: str, languages: Sequence[str]) -> str:
    """The model's own tag for a language: `en` for `en-GB`; the tag as it is when the model has none for it."""
    for is_same in (str.lower, primary):
        for known in languages:
            if tag and is_same(known) == is_same(tag):
                return known
    return tag
