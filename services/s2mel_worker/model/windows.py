"""Where windows of a segment begin and end: pure functions of the policy and the segment's codes.

Knows neither torch nor arrival times. Codes count 50 per second, frames 22050/256 per second. A duration factor
stretches (above 1) or squeezes (below 1) the frames of every code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.indextts2 import FRAMES_PER_100_CODES, FRAMES_PER_CODE
from services.common.stage.policy import Policy
from services.common.stage.window_borders import window_borders


@dataclass(frozen=True, slots=True)
class Window:
    """A run of codes whose frames one render adds; all positions are codes of the segment."""

    start: int
    stop: int
    prefix_start: int
    look_ahead_stop: int
    is_last: bool
    duration_factor: float = 1.0

    @property
    def first_frame(self) -> int:
        """Absolute index in the segment of the first new frame."""
        return frames_of(self.start, self.duration_factor)

    @property
    def num_frames(self) -> int:
        """New frames; a single code may own none."""
        return frames_of(self.stop, self.duration_factor) - self.first_frame

    @property
    def prefix_frames(self) -> int:
        """Frames before the first new one that the render sees."""
        return self.first_frame - frames_of(self.prefix_start, self.duration_factor)

    @property
    def look_ahead_frames(self) -> int:
        """Frames behind the last new one that are rendered with it."""
        return frames_of(self.look_ahead_stop, self.duration_factor) - self.first_frame - self.num_frames


def frames_of(num_codes: int, duration_factor: float = 1.0) -> int:
    """Frames that the first `num_codes` codes of a segment own: each product is rounded to float32 (§7.1)."""
    return int(np.float32(num_codes) * np.float32(FRAMES_PER_CODE) * np.float32(duration_factor))


def code_of_frame(frame: NDArray[np.int64], duration_factor: float = 1.0) -> NDArray[np.int64]:
    """floor(frame / (1.72 · factor)); the quotient is exact enough to be the true floor at factor 1."""
    return np.floor(frame * 100 / (FRAMES_PER_100_CODES * duration_factor)).astype(np.int64)


def next_window(
    policy: Policy, start: int, num_codes_known: int, *, is_ended: bool, duration_factor: float = 1.0
) -> Window | None:
    """The window that begins at code `start`, or None while it must wait or where nothing is left.

    It waits for its look-ahead, or for one code more where there is none: only then it is known
    not to be the last. If the segment ends before, the window takes all codes that are left and
    is the last. So windows never depend on when codes arrive.

    Args:
        policy: decides the borders.
        start: 0, or the `stop` of another window of this policy.
        num_codes_known: codes of the segment so far.
        is_ended: whether no more will come.
        duration_factor: what the frames of a code are multiplied by.

    Raises:
        ValueError: if no window of this policy begins at `start`.
    """
    if is_ended and start >= num_codes_known:
        return None
    stop = _stop_of(policy, start, duration_factor)
    prefix_start = max(0, start - policy.prefix_codes)
    look_ahead_stop = stop + policy.look_ahead_codes
    if num_codes_known >= max(look_ahead_stop, stop + 1):
        return Window(start, stop, prefix_start, look_ahead_stop, False, duration_factor)
    if is_ended:
        return Window(start, num_codes_known, prefix_start, num_codes_known, True, duration_factor)
    return None


def window_before(policy: Policy, start: int, duration_factor: float = 1.0) -> Window:
    """The window that ends where the one that begins at code `start`, above 0, begins."""
    for begin, stop in window_borders(policy, duration_factor):
        if stop == start:
            prefix_start = max(0, begin - policy.prefix_codes)
            return Window(begin, stop, prefix_start, stop + policy.look_ahead_codes, False, duration_factor)
        if stop > start:
            break
    raise ValueError(f"no window ends at code {start} under {policy}")


def all_windows(policy: Policy, num_codes: int, duration_factor: float = 1.0) -> list[Window]:
    """Every window of a segment of `num_codes` codes, in order."""
    windows: list[Window] = []
    start = 0
    while start < num_codes:
        window = next_window(policy, start, num_codes, is_ended=True, duration_factor=duration_factor)
        assert window is not None
        windows.append(window)
        start = window.stop
    return windows


def _stop_of(policy: Policy, start: int, duration_factor: float) -> int:
    for begin, stop in window_borders(policy, duration_factor):
        if begin == start:
            return stop
        if begin > start:
            break
    raise ValueError(f"no window begins at code {start} under {policy}")
