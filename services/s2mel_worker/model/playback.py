"""Whether a policy's windows come fast enough for a listener: arithmetic on measured costs, no torch, no clock.

The model: codes come at an even rate, one render runs after another, playback begins with the first window's frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.common.stage.policy import Policy
from services.s2mel_worker.model.windows import all_windows

FRAMES_PER_SECOND = 22050 / 256


@dataclass(frozen=True, slots=True)
class Costs:
    """What work takes, in seconds."""

    render: float
    """Of every window, however short."""
    frame: float
    """Of each frame that a render sees: prompt, prefix, new ones and look-ahead."""
    code: float = 0.0
    """From one code to the next."""
    after: float = 0.0
    """From a window's frames to their sound."""


@dataclass(frozen=True, slots=True)
class Playback:
    first_audio_seconds: float
    """From the first code's start to the first window's sound."""
    least_lead_seconds: float
    """How far ahead of the listener the windows stay, at worst; below 0 playback starves."""


def playback(policy: Policy, num_codes: int, costs: Costs, *, duration_factor: float = 1.0) -> Playback:
    """What a listener to a segment of `num_codes` codes, at least one, goes through."""
    ready = played = first = 0.0
    least = float("inf")
    prompt_frames = policy.prompt_seconds * FRAMES_PER_SECOND
    for n, window in enumerate(all_windows(policy, num_codes, duration_factor)):
        seen = prompt_frames + window.prefix_frames + window.num_frames + window.look_ahead_frames
        ready = max(ready, window.look_ahead_stop * costs.code) + costs.render + costs.frame * seen
        if n == 0:
            first = ready + costs.after
        least = min(least, first + played - ready - costs.after)
        played += window.num_frames / FRAMES_PER_SECOND
    return Playback(first, least)
