"""Decides which sessions share the next step, and whether it waits for more. Knows neither gRPC nor a model."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.stage.session import Session


def pick(ready: Sequence[Session], *, max_batch_size: int) -> list[Session]:
    """Take the sessions for the next step: higher priority first, then those served longest ago.

    Borders and numbers never depend on this choice; it only decides who waits.
    """
    return sorted(ready, key=lambda session: (-session.priority, session.last_served))[:max_batch_size]


class BatchWindow:
    """Holds a step back for a short while, so that sessions that are ready soon can share it.

    Args:
        seconds: How long a step waits at most, from when its first session is ready; 0 never waits.
        max_batch_size: A step that is full waits for nobody.
    """

    def __init__(self, seconds: float, *, max_batch_size: int) -> None:
        self._seconds = seconds
        self._max_batch_size = max_batch_size
        self.until: float | None = None
        """When the step that is held back goes at the latest; None when none is."""

    def holds(self, *, num_ready: int, num_open: int, now: float) -> bool:
        """Whether the step waits, at the time `now` of a monotonic clock, for more than those that are ready."""
        if not self._seconds or not num_ready or num_ready >= min(num_open, self._max_batch_size):
            self.until = None
            return False
        if self.until is None:
            self.until = now + self._seconds
        if now < self.until:
            return True
        self.until = None
        return False
