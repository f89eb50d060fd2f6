"""The numbers of a request that become parameters of whichever stage declares them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from protos.tts.stages.v1 import stage_pb2
from protos.tts.v1 import synthesis_pb2
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.request import capabilities
from services.frontend.request.capabilities import COMPAT_PARAM, RATE_PARAM
from services.frontend.request.parameter_conflicts import merged
from services.frontend.request.public_paths import FIELD_OF_PARAM
from services.frontend.request.validation import COMPAT_POLICY, in_range
from services.frontend.workers.topology import Pipeline

Params = dict[str, stage_pb2.ParamSpec]

MAX_SHOWN_NAME = 64
MIN_SPEAKING_RATE, MAX_SPEAKING_RATE = 0.5, 2.0


@dataclass(frozen=True)
class Number:
    """A field that is a parameter's value as it is."""

    group: str
    param: str
    minimum: float
    maximum: float
    excludes_minimum: bool = False

    @property
    def path(self) -> str:
        return FIELD_OF_PARAM[self.param]

    def read(self, config: synthesis_pb2.SynthesisConfig) -> float | None:
        """The value, or None when it is not set."""
        group, field = getattr(config, self.group), self.path.rpartition(".")[2]
        return float(getattr(group, field)) if group.HasField(field) else None


NUMBERS = (
    Number("sampling", "temperature", 0.1, 2.0),
    Number("sampling", "top_p", 0.0, 1.0, excludes_minimum=True),
    Number("sampling", "top_k", 0, 8194),
    Number("sampling", "repetition_penalty", 0.1, 20.0),
    Number("sampling", "max_codes", 1, 4294967295),
    Number("render", "steps", 1, 100),
    Number("render", "cfg_rate", 0.0, 3.0),
    Number("emotion", "emotion_weight", 0.0, 1.0),
)


def params(config: synthesis_pb2.SynthesisConfig, pipeline: Pipeline, policy: stage_pb2.Policy) -> dict[str, float]:
    """The parameters that a config sets, by name, and those that its policy sets beside them.

    Raises:
        InvalidRequestError: One is out of range, has no effect beside the others, or no stage of the model has it.
    """
    declared = pipeline.params()
    values = dict(_numbers(config, pipeline, declared))
    if config.sampling.is_greedy:
        _require("greedy", declared, pipeline)
        values["greedy"] = 1.0
    if config.emotion.vector.is_normalized:
        _require("emotion_normalized", declared, pipeline)
        values["emotion_normalized"] = 1.0
    if policy.name == COMPAT_POLICY:
        values[COMPAT_PARAM] = 1.0
    if config.HasField("speaking_rate"):
        values[RATE_PARAM] = _duration_factor(config.speaking_rate, pipeline, declared)
    values |= dict(_further(config, pipeline, declared))
    return merged(values, policy, declared)


def further_params(pipeline: Pipeline) -> Params:
    """What `config.params` may hold: parameters without a field of their own."""
    return {name: spec for name, spec in pipeline.params().items() if name not in FIELD_OF_PARAM}


def rate_range(spec: stage_pb2.ParamSpec) -> tuple[float, float]:
    """The speaking rates that a duration factor's range allows."""
    slowest = 1 / spec.maximum if spec.maximum > 0 else MIN_SPEAKING_RATE
    fastest = 1 / spec.minimum if spec.minimum > 0 else MAX_SPEAKING_RATE
    return max(MIN_SPEAKING_RATE, slowest), min(MAX_SPEAKING_RATE, fastest)


def _numbers(
    config: synthesis_pb2.SynthesisConfig, pipeline: Pipeline, declared: Params
) -> Iterator[tuple[str, float]]:
    for number in NUMBERS:
        value = number.read(config)
        if value is None:
            continue
        spec = _require(number.param, declared, pipeline)
        minimum, maximum = max(number.minimum, spec.minimum), min(number.maximum, spec.maximum)
        excludes_minimum = number.excludes_minimum and minimum == number.minimum
        yield number.param, in_range(value, minimum, maximum, number.path, excludes_minimum=excludes_minimum)


def _duration_factor(rate: float, pipeline: Pipeline, declared: Params) -> float:
    if RATE_PARAM not in declared:
        raise capabilities.missing("speaking_rate", FIELD_OF_PARAM[RATE_PARAM], pipeline)
    spec = declared[RATE_PARAM]
    factor = 1 / in_range(rate, *rate_range(spec), FIELD_OF_PARAM[RATE_PARAM])
    # 1 / (1 / x) may miss x by a rounding.
    return min(max(factor, spec.minimum), spec.maximum)


def _further(
    config: synthesis_pb2.SynthesisConfig, pipeline: Pipeline, declared: Params
) -> Iterator[tuple[str, float]]:
    allowed = further_params(pipeline)
    for name, value in sorted(config.params.items()):
        if name in declared and name in FIELD_OF_PARAM:
            path = FIELD_OF_PARAM[name]
            raise InvalidRequestError(
                f"parameter {name} is set by {path}, not by config.params",
                field=f"config.params[{name}]",
                reason=Reason.FIELD_CONFLICT,
                metadata={"use": path},
            )
        if name not in allowed:
            names = ", ".join(allowed) or "none"
            raise _unknown(name, names, pipeline)
        yield name, _checked(value, allowed[name])


def _unknown(name: str, names: str, pipeline: Pipeline) -> InvalidRequestError:
    allowed = f"its further parameters are: {names}"
    if name.isidentifier() and len(name) <= MAX_SHOWN_NAME:
        return capabilities.missing(name, f"config.params[{name}]", pipeline, allowed=allowed)
    # What is no name could be anything, and is not repeated.
    return capabilities.missing("params", "config.params", pipeline, allowed=allowed)


def _checked(value: float, spec: stage_pb2.ParamSpec) -> float:
    path = f"config.params[{spec.name}]"
    in_range(value, spec.minimum, spec.maximum, path)
    if spec.is_integer and value != int(value):
        raise InvalidRequestError(
            f"{path} is {value:g}; whole numbers {spec.minimum:g} to {spec.maximum:g} are allowed",
            field=path,
            reason=Reason.OUT_OF_RANGE,
            metadata={"minimum": f"{spec.minimum:g}", "maximum": f"{spec.maximum:g}"},
        )
    return value


def _require(param: str, declared: Params, pipeline: Pipeline) -> stage_pb2.ParamSpec:
    """Refuse a field by name when no stage of the model has its parameter."""
    if param not in declared:
        names = ", ".join(declared) or "none"
        raise capabilities.missing(param, FIELD_OF_PARAM[param], pipeline, allowed=f"its parameters are: {names}")
    return declared[param]
