"""The policies that are compared: the checkpoint's profiles, and the default one with one value changed at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from services.common.stage.policy import Policy
from services.s2mel_worker.model.windows import frames_of

CENTRE = "centre"
"""The default profile once more, on the speeches of the sweep alone: what the other rows of it stand beside."""

STEPS = "steps"

AXES: Mapping[str, Sequence[float]] = {
    "first_window_codes": (8, 12, 15, 18, 22, 30),
    "window_growth": (1.1, 1.25, 1.5, 2.0),
    "max_window_codes": (50, 100, 200),
    "look_ahead_codes": (0, 3, 5, 10, 25),
    "prefix_codes": (0, 8, 15, 25, 50),
    "prompt_seconds": (0.4, 0.8, 1.5, 3.0),
    "crossfade_frames": (0, 2, 4, 8),
    "vocoder_look_ahead_frames": (2, 4, 8, 12, 24),
    "vocoder_context_frames": (8, 16, 24),
    STEPS: (2, 3, 4, 6, 8),
}
"""Fields of the policy, and `steps`, which is a parameter of S2Mel."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    policy: Policy
    axis: str = ""
    """What differs from the centre; empty for the profiles and the centre itself."""
    value: float = 0.0


def with_params(policy: Policy, params: Mapping[str, float]) -> Policy:
    """The policy with parameters that go before its own."""
    return replace(policy, params={**policy.params, **params})


def profiles(policies: Sequence[Policy]) -> list[Variant]:
    """The checkpoint's own policies, the default one first."""
    return [Variant(policy.name, policy) for policy in policies]


def sweep(centre: Policy, axes: Sequence[str]) -> Iterator[Variant]:
    """The centre, then each axis' values that differ from it; nothing where there is no axis."""
    if axes:
        yield Variant(CENTRE, centre)
    for axis in axes:
        for value in AXES[axis]:
            if value != value_of(centre, axis):
                yield Variant(f"{axis} {value:g}", _changed(centre, axis, value), axis, value)


def value_of(policy: Policy, axis: str) -> float | None:
    """Where a policy stands on an axis; None where it leaves the steps to the checkpoint."""
    return policy.params.get(STEPS) if axis == STEPS else float(getattr(policy, axis))


def yardstick(policy: Policy) -> Policy:
    """The whole render that a stream's windows alone set it apart from: with the same prompt and the same solver."""
    return Policy(name="yardstick", is_whole=True, prompt_seconds=policy.prompt_seconds, params=policy.params)


def blended_frames(policy: Policy) -> int:
    """Frames that a crossfade really blends: the window before has no more than its look-ahead."""
    return min(policy.crossfade_frames, frames_of(policy.look_ahead_codes))


def _changed(centre: Policy, axis: str, value: float) -> Policy:
    if axis == STEPS:
        return with_params(centre, {STEPS: value})
    kind = type(getattr(centre, axis))
    changed = replace(centre, **{axis: kind(value)})
    # What would not fit gives way: no window is longer than the longest, and no blend than its look-ahead.
    return replace(
        changed,
        first_window_codes=min(changed.first_window_codes, changed.max_window_codes),
        crossfade_frames=blended_frames(changed),
    )
