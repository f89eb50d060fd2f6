"""Checks of request fields against what is allowed and what the model can do. Errors name the field's path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import synthesis_pb2
from services.common.errors import InvalidRequestError
from services.frontend.topology import Pipeline

MAX_SESSION_ID = 128
MAX_GAP_MS = 2000
MIN_SEGMENT_TOKENS = 10
EMOTIONS = ("happy", "angry", "sad", "afraid", "disgusted", "melancholic", "surprised", "calm")


@dataclass(frozen=True)
class Number:
    """A request field that becomes a parameter of whichever stage declares it."""

    group: str
    field: str
    param: str
    minimum: float
    maximum: float
    excludes_minimum: bool = False

    @property
    def path(self) -> str:
        return f"config.{self.group}.{self.field}"

    def read(self, config: synthesis_pb2.SynthesisConfig) -> float | None:
        """The value, or None when it is not set."""
        group = getattr(config, self.group)
        return float(getattr(group, self.field)) if group.HasField(self.field) else None


NUMBERS = (
    Number("sampling", "temperature", "temperature", 0.1, 2.0),
    Number("sampling", "top_p", "top_p", 0.0, 1.0, excludes_minimum=True),
    Number("sampling", "top_k", "top_k", 0, 8194),
    Number("sampling", "repetition_penalty", "repetition_penalty", 0.1, 20.0),
    Number("sampling", "max_codes", "max_codes", 1, 4294967295),
    Number("render", "steps", "steps", 1, 100),
    Number("render", "cfg_rate", "cfg_rate", 0.0, 3.0),
)


def params(config: synthesis_pb2.SynthesisConfig, pipeline: Pipeline) -> Iterator[tuple[str, float]]:
    """The parameters that a config sets, by name.

    Raises:
        InvalidRequestError: One is out of range, or no stage of the model has it.
    """
    declared = pipeline.params()
    for number in NUMBERS:
        value = number.read(config)
        if value is not None:
            _check_number(number, value, declared)
            yield number.param, value
    if config.sampling.is_greedy:
        require(declared, "greedy", "config.sampling.is_greedy")
        yield "greedy", 1.0


def _check_number(number: Number, value: float, declared: dict[str, stage_pb2.ParamSpec]) -> None:
    require(declared, number.param, number.path)
    spec = declared[number.param]
    minimum, maximum = max(number.minimum, spec.minimum), min(number.maximum, spec.maximum)
    excludes_minimum = number.excludes_minimum and minimum == number.minimum
    # A NaN is in no range: every comparison with it is false.
    if not minimum <= value <= maximum or (excludes_minimum and value == minimum):
        low = f"above {minimum:g}" if excludes_minimum else f"{minimum:g}"
        raise InvalidRequestError(
            f"{number.path} is {value:g}; {low} to {maximum:g} is allowed",
            field=number.path,
            reason="OUT_OF_RANGE",
            metadata={"minimum": f"{minimum:g}", "maximum": f"{maximum:g}"},
        )


def require(declared: dict[str, stage_pb2.ParamSpec], param: str, path: str) -> None:
    """Refuse a field by name when no stage of the model has its parameter."""
    if param not in declared:
        raise unsupported(path)


def unsupported(path: str) -> InvalidRequestError:
    return InvalidRequestError(f"this model has no {path.rpartition('.')[2]}", field=path, reason="NOT_SUPPORTED")


def in_range(value: float, minimum: float, maximum: float, path: str) -> float:
    """Give the value back, or raise InvalidRequestError."""
    if not minimum <= value <= maximum:
        raise InvalidRequestError(
            f"{path} is {value:g}; {minimum:g} to {maximum:g} is allowed",
            field=path,
            reason="OUT_OF_RANGE",
            metadata={"minimum": f"{minimum:g}", "maximum": f"{maximum:g}"},
        )
    return value


def session_id(value: str) -> str:
    """A session id goes into metadata and logs: it must be short and printable."""
    if len(value) > MAX_SESSION_ID or not (value.isascii() and value.isprintable()):
        raise InvalidRequestError(
            f"config.session_id is 0 to {MAX_SESSION_ID} printable ASCII characters",
            field="config.session_id",
        )
    return value


def emotion_strengths(vector: synthesis_pb2.EmotionVector) -> list[float]:
    return [in_range(getattr(vector, name), 0.0, 1.0, f"config.emotion.vector.{name}") for name in EMOTIONS]


def segment_tokens(config: synthesis_pb2.SynthesisConfig, pipeline: Pipeline) -> int:
    """The limit of tokens in a segment; 0 for the model's own."""
    if not config.render.HasField("max_segment_tokens"):
        return 0
    limit = pipeline.max_segment_tokens
    return int(
        in_range(
            config.render.max_segment_tokens, min(MIN_SEGMENT_TOKENS, limit), limit, "config.render.max_segment_tokens"
        )
    )


def gap_ms(config: synthesis_pb2.SynthesisConfig, default: int = 200) -> int:
    if not config.render.HasField("segment_gap_ms"):
        return default
    return int(in_range(config.render.segment_gap_ms, 0, MAX_GAP_MS, "config.render.segment_gap_ms"))


def policy(config: synthesis_pb2.SynthesisConfig, pipeline: Pipeline) -> stage_pb2.Policy:
    """The streaming policy that a request means, by its name.

    Raises:
        InvalidRequestError: There is no such policy.
    """
    names = ["streaming", "whole", *(["compat"] if "compat" in pipeline.params() else [])]
    name = config.render.policy or names[0]
    if name not in names:
        raise InvalidRequestError(
            f"config.render.policy is not one of: {', '.join(names)}",
            field="config.render.policy",
            reason="OUT_OF_RANGE",
        )
    chosen = stage_pb2.Policy()
    chosen.CopyFrom(pipeline.default_policy)
    chosen.name = name
    chosen.is_whole = name != "streaming"
    return chosen
