"""Where windows of a segment begin and end: pure functions of the policy and the segment's codes.

Knows neither torch nor arrival times. Codes count 50 per second, frames 22050/256 per second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.stage.policy import Policy


@dataclass(frozen=True, slots=True)
class Window:
    """A run of codes whose frames one render adds; all positions are codes of the segment."""

    start: int
    stop: int
    prefix_start: int
    look_ahead_stop: int
    is_last: bool

    @property
    def first_frame(self) -> int:
        """Absolute index in the segment of the first new frame."""
        return frames_of(self.start)

    @property
    def num_frames(self) -> int:
        """New frames."""
        return frames_of(self.stop) - self.first_frame

    @property
    def prefix_frames(self) -> int:
        """Frames before the first new one that the render sees."""
        return self.first_frame - frames_of(self.prefix_start)


def frames_of(num_codes: int) -> int:
    """Frames that the first `num_codes` codes of a segment own: the product is rounded to float32 (§7.1)."""
    return int(np.float32(num_codes) * np.float32(1.72))


def code_of_frame(frame: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(frame / 1.72), without rounding."""
    return frame * 25 // 43


def window_borders(policy: Policy) -> Iterator[tuple[int, int]]:
    """Start and stop of window after window of an endless segment.

    Raises:
        ValueError: if the policy's windows would be empty or shrink.
    """
    if not (1 <= policy.first_window_codes <= policy.max_window_codes and policy.window_growth >= 1):
        raise ValueError(f"windows must have codes and may not shrink: {policy}")
    start, size = 0, float(policy.first_window_codes)
    while True:
        stop = start + int(size)
        yield start, stop
        start, size = stop, min(size * policy.window_growth, float(policy.max_window_codes))


def next_window(policy: Policy, start: int, num_codes_known: int, *, is_ended: bool) -> Window | None:
    """The window that begins at code `start`, or None while it must wait or where nothing is left.

    It waits for its look-ahead, or for one code more where there is none: only then it is known
    not to be the last. If the segment ends before, the window takes all codes that are left and
    is the last. So windows never depend on when codes arrive.

    Args:
        policy: decides the borders.
        start: 0, or the `stop` of another window of this policy.
        num_codes_known: codes of the segment so far.
        is_ended: whether no more will come.

    Raises:
        ValueError: if no window of this policy begins at `start`.
    """
    if is_ended and start >= num_codes_known:
        return None
    stop = _stop_of(policy, start)
    prefix_start = max(0, start - policy.prefix_codes)
    look_ahead_stop = stop + policy.look_ahead_codes
    if num_codes_known >= max(look_ahead_stop, stop + 1):
        return Window(start, stop, prefix_start, look_ahead_stop, is_last=False)
    if is_ended:
        return Window(start, num_codes_known, prefix_start, num_codes_known, is_last=True)
    return None


def all_windows(policy: Policy, num_codes: int) -> list[Window]:
    """Every window of a segment of `num_codes` codes, in order."""
    windows: list[Window] = []
    start = 0
    while start < num_codes:
        window = next_window(policy, start, num_codes, is_ended=True)
        assert window is not None
        windows.append(window)
        start = window.stop
    return windows


def _stop_of(policy: Policy, start: int) -> int:
    for begin, stop in window_borders(policy):
        if begin == start:
            return stop
        if begin > start:
            break
    raise ValueError(f"no window begins at code {start} under {policy}")
