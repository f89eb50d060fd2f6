"""A caller's limit on how long the first audio may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.common.errors import DeadlineError
from services.common.reasons import Reason
from services.frontend.speaking.timings import Timings


class FirstAudioLimit:
    """Counts from when the call began, over all the work that comes before its first audio.

    Args:
        timings: The call's clock.
        limit_ms: 0 for none.
        what: What has to be there, as errors name it.
    """

    def __init__(self, timings: Timings, limit_ms: int, *, what: str = "audio") -> None:
        self._timings = timings
        self._limit_ms = limit_ms
        self._what = what
        self._is_met = False
        self._paused_at_ms: float | None = None
        self._waited_ms = 0.0
        self._watch: asyncio.Timeout | None = None

    def met(self) -> None:
        """There is audio: what is being watched may take its time.

        Raises:
            DeadlineError: The limit has passed.
        """
        if self._is_met:
            return
        if (left := self._left_seconds()) is not None and left <= 0:
            raise self._passed()
        self._is_met = True
        self._reschedule()

    def pause(self) -> None:
        """The work waits for the caller, whose time does not count."""
        if self._paused_at_ms is None:
            self._paused_at_ms = self._timings.elapsed_ms()
            self._reschedule()

    def resume(self) -> None:
        """The work goes on."""
        if self._paused_at_ms is not None:
            self._waited_ms += self._timings.elapsed_ms() - self._paused_at_ms
            self._paused_at_ms = None
            self._reschedule()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Cancel the work inside when the limit passes before `met`, and let it clean up.

        Raises:
            DeadlineError: It passed.
        """
        watch = asyncio.timeout(None)
        try:
            async with watch:
                self._watch = watch
                self._reschedule()
                yield
        except TimeoutError:
            if not watch.expired():
                raise
            raise self._passed() from None
        finally:
            self._watch = None

    def _left_seconds(self) -> float | None:
        """Until the limit passes; None while nothing is counted."""
        if not self._limit_ms or self._is_met or self._paused_at_ms is not None:
            return None
        return (self._limit_ms + self._waited_ms - self._timings.elapsed_ms()) / 1000

    def _reschedule(self) -> None:
        if self._watch is None or self._watch.expired():
            return
        left = self._left_seconds()
        self._watch.reschedule(None if left is None else asyncio.get_running_loop().time() + left)

    def _passed(self) -> DeadlineError:
        return DeadlineError(
            f"no {self._what} was ready within config.max_first_audio_ms, {self._limit_ms} ms",
            field="config.max_first_audio_ms",
            reason=Reason.FIRST_AUDIO_TIMEOUT,
        )
