"""Decides which sessions share the next step, and whether it waits for more. Knows neither gRPC nor a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from services.common.stage.policy import Policy
from services.common.stage.session import Session
from services.common.stage.spec import Edge, EdgeKind
from services.common.stage.window_borders import complete_windows

OUTPUTS_AHEAD = 4.0
"""A listener needs the next output when as many times the steps of the last ones are left: it may be longer, another
that cannot be interrupted may be under way, and the stages behind take their time too."""

FIRST_PATIENCE_SECONDS = 0.5
"""How long first outputs wait for listeners who would run dry."""

SLOW_PAUSE = 4.0
"""Steps of its own that a session waits for at most, if it gives nothing for long: a share of about a seventh, under
any load."""

_DUE, _FIRST, _OTHERS = range(3)

AHEAD_SECONDS = 1.0
"""Of playback lead, from which on a stage works ahead. More than the largest step of the stages behind it takes."""


def pick(ready: Sequence[Session], *, max_batch_size: int, now: float) -> list[Session]:
    """Take the sessions for the next step, at the time `now` of a monotonic clock; see `rank`.

    Of those that begin one at most, so that the others have the places that more of them would hold for nothing.
    """
    # One measure for all: who has less lead than another must never have to wait for it.
    needed = OUTPUTS_AHEAD * max(
        (each.listener.output_seconds for each in ready if not each.is_slow_to_begin), default=0
    )
    ranked = sorted(ready, key=lambda session: rank(session, now, needed))
    first = next((session for session in ranked if session.is_beginning), None)
    return [session for session in ranked if session is first or not session.is_beginning][:max_batch_size]


def rank(session: Session, now: float, needed_seconds: float = 0.0) -> tuple[float, ...]:
    """Where a session stands; the least goes first.

    Higher priority first. Then, in this order: those whose listeners run dry within `needed_seconds`, the time that an
    output takes to make and to pass on, and those who have waited for the first for long; sessions that have not given
    enough to begin with, as they opened; and the others, the least playback lead first. One that gives nothing before
    its segment is done would hold up everybody: it is one of these others, and due when it has waited for as long as
    several of its steps. Where these are equal, the earlier deadline, then who was served longest ago, then who was
    served least: those of one batch have equal leads. Borders and numbers never depend on this; it only decides who
    waits.
    """
    runs_dry = session.listener.plays_until
    if session.is_slow_to_begin:
        waits_until = session.last_served + SLOW_PAUSE * session.listener.last_step_seconds
        runs_dry = session.last_served if runs_dry is None else runs_dry
        standing = (_DUE, waits_until) if waits_until <= now else (_OTHERS, runs_dry)
    elif runs_dry is None:
        patience_ends = (now if session.ready_since is None else session.ready_since) + FIRST_PATIENCE_SECONDS
        standing = (_DUE, patience_ends) if patience_ends <= now else (_FIRST, session.opened)
    else:
        standing = (_DUE if runs_dry - needed_seconds <= now else _OTHERS, runs_dry)
    deadline = math.inf if session.deadline is None else session.deadline
    return (-session.priority, *standing, deadline, session.last_served, session.stats.steps)


def windows(gives: Edge, policy: Policy) -> Callable[[], Iterator[int]] | None:
    """What `Listener` is told of a stage: its codes wait for their window, all else becomes sound as it comes."""
    if gives.kind != EdgeKind.TOKENS or policy.is_whole:
        return None
    return partial(complete_windows, policy)


def is_ahead(batch: Sequence[Session], now: float) -> bool:
    """Whether a step for these sessions works ahead: all their listeners have enough to hear for a while.

    What counts is what has come out of this stage: the sound made of it reaches the listener later still.
    """
    return all(
        session.listener.plays_until is not None and session.listener.plays_until - now > AHEAD_SECONDS
        for session in batch
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
