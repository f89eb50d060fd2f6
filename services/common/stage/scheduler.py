"""Decides which sessions share the next step, and whether it waits for more. Knows neither gRPC nor a model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from services.common.stage.session import Session


def pick(ready: Sequence[Session], *, max_batch_size: int) -> list[Session]:
    """Take the sessions for the next step; see `rank`."""
    return sorted(ready, key=rank)[:max_batch_size]


def rank(session: Session) -> tuple[float, ...]:
    """Where a session stands; the least goes first.

    Higher priority first. Then sessions out of which nothing has come yet, in the order in which they opened, if it
    comes soon: one that gives nothing before its segment is done takes turns with listeners who run dry. Then the
    least playback lead: whose listener will have heard all there is soonest. Where these are equal, the earlier
    deadline, then who was served longest ago. Borders and numbers never depend on this; it only decides who waits.
    """
    runs_dry = session.plays_until
    if runs_dry is None and session.is_slow_to_begin:
        runs_dry = session.last_served
    return (
        -session.priority,
        runs_dry is not None,
        session.opened if runs_dry is None else runs_dry,
        math.inf if session.deadline is None else session.deadline,
        session.last_served,
    )


class BatchWindow:
    """Holds a step back for a short while, so that sessions that are ready soon can share it.

    Only work that begins is held: once it goes on from step to step, others join it at any of them without a wait.

    Args:
        seconds: How long a step waits at most, from when its first session is ready; 0 never waits.
        max_batch_size: A step that is full waits for nobody.
    """

    def __init__(self, seconds: float, *, max_batch_size: int) -> None:
        self._seconds = seconds
        self._max_batch_size = max_batch_size
        self.until: float | None = None
        """When the step that is held back goes at the latest; None when none is."""

    def holds(self, *, num_ready: int, num_open: int, now: float, is_going: bool = False) -> bool:
        """Whether the step waits, at the time `now` of a monotonic clock, for more than those that are ready.

        Args:
            num_ready: Sessions that could share the step now.
            num_open: Sessions that there are.
            now: Of a monotonic clock.
            is_going: One of them was in the step before.
        """
        is_full = num_ready >= min(num_open, self._max_batch_size)
        if not self._seconds or not num_ready or is_full or is_going:
            self.until = None
            return False
        if self.until is None:
            self.until = now + self._seconds
        if now < self.until:
            return True
        self.until = None
        return False
