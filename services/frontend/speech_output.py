"""The speech of one utterance between the last stage and the client: order, gaps and sample counting."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from enum import IntEnum

from services.common.errors import DeadlineError
from services.frontend.segment_queue import Segment
from services.frontend.wakeup import Wakeup

BYTES_PER_SAMPLE = 2


class FinishReason(IntEnum):
    """Numbers equal those of both protos."""

    NONE = 0
    STOP = 1
    MAX_CODES = 2
    CANCELLED = 3


@dataclass(eq=False, slots=True)
class SpokenSegment:
    """A segment and what has become of it."""

    segment: Segment
    codes: int = 0
    samples: int = 0
    """Samples that went out, the gap before the segment included."""
    finish_reason: FinishReason = FinishReason.NONE
    pieces: deque[bytes] = field(default_factory=deque)
    """PCM that the client has not taken yet."""

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not FinishReason.NONE


@dataclass(frozen=True, slots=True)
class Spoken:
    """A run of samples of one segment."""

    pcm: bytes
    segment: int
    start_sample: int
    segment_end: SpokenSegment | None = None
    """Set on the segment's last piece."""


class SpeechOutput:
    """Hands out the segments' samples in order, whatever order they are finished or cancelled in.

    Args:
        wakeup: The utterance's own.
        gap_samples: Silence between two segments that are heard; none at the end.
        lead_samples: How many samples may wait for the client before the stages have to.
        stall_seconds: How long the stages wait for a client that takes nothing.
        max_piece_samples: Longest run handed out at once.
    """

    def __init__(
        self,
        wakeup: Wakeup,
        *,
        gap_samples: int,
        lead_samples: int,
        stall_seconds: float = 60.0,
        max_piece_samples: int = 32_000,
    ) -> None:
        self._wakeup = wakeup
        self._gap_samples = gap_samples
        self._lead_bytes = lead_samples * BYTES_PER_SAMPLE
        self._stall_seconds = stall_seconds
        self._max_piece_bytes = max_piece_samples * BYTES_PER_SAMPLE
        self._open: deque[SpokenSegment] = deque()
        self._unheard: deque[Spoken] = deque()
        self._buffered_bytes = 0
        self._next_sample = 0
        self._is_closed = False
        self._failure: BaseException | None = None

    @property
    def num_samples(self) -> int:
        """Samples that were handed out."""
        return self._next_sample

    @property
    def is_idle(self) -> bool:
        """Whether every segment that began has gone out."""
        return not self._open

    @property
    def has_room(self) -> bool:
        return self._buffered_bytes < self._lead_bytes

    def begin(self, segment: Segment) -> None:
        """Give a segment its place in the order."""
        self._open.append(SpokenSegment(segment))

    def find(self, index: int) -> SpokenSegment | None:
        """The segment, unless its last sample has gone out or it never began."""
        return next((each for each in self._open if each.segment.index == index), None)

    async def put(self, index: int, pcm: bytes) -> None:
        """Take in samples, waiting while the client is too far behind.

        Raises:
            DeadlineError: The client took nothing for `stall_seconds`.
        """
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._wakeup.until(lambda: self.has_room)
        except TimeoutError:
            raise DeadlineError(
                f"the client took no audio for {self._stall_seconds:g} s", reason="CLIENT_STALLED"
            ) from None
        spoken = self.find(index)
        if spoken is None or spoken.is_finished:
            return
        for start in range(0, len(pcm), self._max_piece_bytes):
            spoken.pieces.append(pcm[start : start + self._max_piece_bytes])
        self._buffered_bytes += len(pcm)
        self._wakeup.notify()

    def finish(self, index: int, reason: FinishReason) -> None:
        """No more samples of this segment come."""
        spoken = self.find(index)
        if spoken is not None and not spoken.is_finished:
            spoken.finish_reason = reason
        self._wakeup.notify()

    def cancel(self, index: int) -> bool:
        """Drop what is left of a segment; False when it is out already or unknown."""
        spoken = self.find(index)
        if spoken is None or (spoken.is_finished and not spoken.pieces):
            return False
        self._buffered_bytes -= sum(len(piece) for piece in spoken.pieces)
        spoken.pieces.clear()
        spoken.finish_reason = FinishReason.CANCELLED
        self._wakeup.notify()
        return True

    def close(self, failure: BaseException | None = None) -> None:
        """The stages are done; with a failure, `take` raises it."""
        self._is_closed = True
        self._failure = failure
        self._wakeup.notify()

    async def take(self) -> Spoken | None:
        """Give the next run of samples, or None after the last one."""
        spoken: Spoken | None = None
        while spoken is None:
            await self._wakeup.until(lambda: self._is_closed or self._has_next())
            if self._failure is not None:
                raise self._failure
            if not self._has_next():
                return self._unheard.popleft() if self._unheard else None
            spoken = self._next()
        self._wakeup.notify()
        return spoken

    def _has_next(self) -> bool:
        if self._unheard and self._next_sample:
            return True
        return bool(self._open) and (bool(self._open[0].pieces) or self._open[0].is_finished)

    def _next(self) -> Spoken | None:
        """Cut the next run; None when it has to wait because nothing has been heard yet."""
        if self._unheard and self._next_sample:
            return replace(self._unheard.popleft(), start_sample=self._next_sample)
        head = self._open[0]
        pcm = head.pieces.popleft() if head.pieces else b""
        self._buffered_bytes -= len(pcm)
        if pcm and self._next_sample and not head.samples:
            pcm = bytes(self._gap_samples * BYTES_PER_SAMPLE) + pcm
        is_end = head.is_finished and not head.pieces
        if is_end:
            self._open.popleft()
        spoken = Spoken(pcm, head.segment.index, self._next_sample, head if is_end else None)
        head.samples += len(pcm) // BYTES_PER_SAMPLE
        self._next_sample += len(pcm) // BYTES_PER_SAMPLE
        if not self._next_sample:
            # A stream's first message carries audio: the end of a segment without any waits for it.
            self._unheard.append(spoken)
            return None
        return spoken
