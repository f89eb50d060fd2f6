"""The streaming profiles that a config.yaml may bring, and those of a checkpoint that brings none.

Each number is checked here by itself; what must fit together, and the parameters, by `profile_checks`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from services.common.checkpoint.section import Section
from services.common.stage.policy import POLICY_RANGES, Policy

Params = dict[str, float]

_UNSET = Policy()


def _in_range(value: float, info: ValidationInfo) -> float:
    least, most = POLICY_RANGES[info.field_name or ""]
    # A NaN is in no range: every comparison with it is false.
    if not least <= value <= most:
        raise ValueError(f"{least:g} to {most:g} are allowed")
    return value


class StreamingPolicy(Section):
    """The numbers that shape streaming; codes are 1/50 s, frames 256 samples."""

    codes_per_chunk: int = _UNSET.codes_per_chunk
    first_window_codes: int = _UNSET.first_window_codes
    window_growth: float = _UNSET.window_growth
    max_window_codes: int = _UNSET.max_window_codes
    look_ahead_codes: int = _UNSET.look_ahead_codes
    prefix_codes: int = _UNSET.prefix_codes
    prompt_seconds: float = _UNSET.prompt_seconds
    crossfade_frames: int = _UNSET.crossfade_frames
    vocoder_context_frames: int = _UNSET.vocoder_context_frames
    vocoder_look_ahead_frames: int = _UNSET.vocoder_look_ahead_frames
    params: Params = Field(default_factory=dict)
    """Values that parameters of the stages have under this policy, unless a request sets them."""

    _check_ranges = field_validator(*POLICY_RANGES)(_in_range)


class WholeRender(Section):
    """What policy `whole` has of its own; the rest is the first profile's, in a single window."""

    prompt_seconds: float = _UNSET.prompt_seconds
    params: Params = Field(default_factory=dict)

    _check_ranges = field_validator("prompt_seconds")(_in_range)


# Fewer steps of a better solver end as near to the flow's end as the published 25 (docs/measurements.md).
_QUICK_SOLVER = {"sway": -0.5, "solver_order": 2.0, "guidance_interval": 2.0}

POLICIES = {
    "balanced": StreamingPolicy(
        first_window_codes=20,
        window_growth=1.5,
        max_window_codes=150,
        look_ahead_codes=5,
        prompt_seconds=5,
        crossfade_frames=8,
        vocoder_look_ahead_frames=16,
        params={"steps": 16, **_QUICK_SOLVER},
    ),
    "latency": StreamingPolicy(
        first_window_codes=12,
        window_growth=1.3,
        max_window_codes=100,
        look_ahead_codes=5,
        prefix_codes=15,
        prompt_seconds=3,
        crossfade_frames=8,
        vocoder_look_ahead_frames=12,
        params={"steps": 12, **_QUICK_SOLVER},
    ),
    "throughput": StreamingPolicy(
        first_window_codes=50,
        max_window_codes=400,
        look_ahead_codes=10,
        prompt_seconds=5,
        crossfade_frames=8,
        params={"steps": 12, **_QUICK_SOLVER},
    ),
}
"""The profiles of a checkpoint that has none of its own; the first is the default."""


def _policy_name(name: str) -> str:
    if name in {"whole", "compat"}:
        raise ValueError("whole and compat are policies of every checkpoint")
    return name


PolicyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$"), AfterValidator(_policy_name)]
