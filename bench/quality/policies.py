"""The policies that are compared: the checkpoint's profiles, and one centre with one value changed at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.common.stage.policy import Policy

CENTRE = Policy(
    name="centre",
    codes_per_chunk=1,
    first_window_codes=15,
    window_growth=1.5,
    max_window_codes=100,
    look_ahead_codes=10,
    prefix_codes=25,
    prompt_seconds=1.5,
    crossfade_frames=0,
    vocoder_context_frames=24,
    vocoder_look_ahead_frames=8,
)

AXES: Mapping[str, Sequence[float]] = {
    "first_window_codes": (8, 12, 15, 20, 25),
    "window_growth": (1.2, 1.5, 2.0),
    "max_window_codes": (50, 100, 200),
    "look_ahead_codes": (0, 3, 5, 10, 25),
    "prefix_codes": (0, 10, 15, 25, 50),
    "prompt_seconds": (0.7, 1.0, 1.5, 3.0),
    "crossfade_frames": (0, 2, 4, 8),
    "vocoder_look_ahead_frames": (2, 4, 8, 16, 24),
    "vocoder_context_frames": (8, 16, 24),
    "steps": (4, 6, 8),
}
"""Fields of the policy, and `steps`, which is a parameter of S2Mel."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    policy: Policy
    params: Mapping[str, float] = field(default_factory=dict)
    axis: str = ""
    """What differs from the centre; empty for the profiles and the centre itself."""
    value: float = 0.0


def profiles(policies: Sequence[Policy]) -> list[Variant]:
    """The checkpoint's own policies, the default one first."""
    return [Variant(policy.name, policy) for policy in policies]


def sweep(axes: Sequence[str]) -> Iterator[Variant]:
    """The centre, then each axis' values that differ from it."""
    yield Variant(CENTRE.name, CENTRE)
    for axis in axes:
        for value in AXES[axis]:
            name = f"{axis} {value:g}"
            if axis == "steps":
                yield Variant(name, CENTRE, {axis: value}, axis, value)
            elif value != getattr(CENTRE, axis):
                kind = type(getattr(CENTRE, axis))
                yield Variant(name, replace(CENTRE, **{axis: kind(value)}), {}, axis, value)
