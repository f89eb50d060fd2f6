"""Whoever hears a session's sound, as far as one stage can tell from what has come out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator


class Listener:
    """Plays what has come out, from when it came and without a break while there is more.

    Args:
        windows: Makes the rising numbers of items of a segment that the stages behind can make further sound of; None
            where each item goes on at once.
    """

    def __init__(self, windows: Callable[[], Iterator[int]] | None = None) -> None:
        self.plays_until: float | None = None
        """When all that has come out will have been heard, on `time.monotonic`'s clock; None before there is enough to
        begin with. A listener who had to wait goes on from where the sound stopped."""
        self.output_seconds = 0.0
        """How long the steps took that what came out last was made in."""
        self.last_step_seconds = 0.0
        self._step_seconds = 0.0
        self._windows = windows
        self._left: Iterator[int] = iter(())
        self._enough = 0
        self._held_seconds = 0.0

    def note_step(self, seconds: float) -> None:
        """A step for this session took so long."""
        self.last_step_seconds = seconds
        self._step_seconds += seconds

    def note_output(self, seconds: float, now: float, *, start: int = 0, stop: int = 0, is_end: bool = False) -> None:
        """Items `start` to `stop` of a segment, which last so long, have come out at the time `now`.

        Until they complete a window they are held, as the next stage does.
        """
        self._held_seconds += seconds
        if not (self._completes_window(start, stop) or is_end):
            return
        self.output_seconds, self._step_seconds = self._step_seconds, 0.0
        begins = now if self.plays_until is None else max(self.plays_until, now)
        self.plays_until, self._held_seconds = begins + self._held_seconds, 0.0

    def drop_held(self) -> None:
        """What was held will not be heard: its segment is cancelled."""
        self._held_seconds, self._enough = 0.0, 0

    def _completes_window(self, start: int, stop: int) -> bool:
        if self._windows is None:
            return True
        if start == 0 or not self._enough:
            self._left = self._windows()
            self._enough = next(self._left)
        is_complete = stop >= self._enough
        while stop >= self._enough:
            self._enough = next(self._left)
        return is_complete
