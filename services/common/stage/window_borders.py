"""Where windows of codes begin and end: of use to the stage that renders them and to the one that makes the codes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from services.common.stage.policy import Policy


def window_borders(policy: Policy, duration_factor: float = 1.0) -> Iterator[tuple[int, int]]:
    """Start and stop of window after window of an endless segment.

    Where codes own fewer frames, the first window takes more of them: it must fill the vocoder's context with some
    to spare, or no sound would come of it.

    Raises:
        ValueError: if the policy's windows would be empty or shrink.
    """
    if not (1 <= policy.first_window_codes <= policy.max_window_codes and policy.window_growth >= 1):
        raise ValueError(f"windows must have codes and may not shrink: {policy}")
    first = math.ceil(policy.first_window_codes / min(duration_factor, 1.0))
    start, size = 0, float(min(first, policy.max_window_codes))
    while True:
        stop = start + int(size)
        yield start, stop
        start, size = stop, min(size * policy.window_growth, float(policy.max_window_codes))


def complete_windows(policy: Policy) -> Iterator[int]:
    """Numbers of codes, rising, each of which makes one window more renderable."""
    for _, stop in window_borders(policy):
        yield stop + policy.look_ahead_codes
