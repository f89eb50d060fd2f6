"""The speech of one utterance between the last stage and the client: order, gaps, soft ends and sample counting.

All of it at the model's own rate, in 16 bits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from services.common.errors import DeadlineError
from services.common.reasons import Reason
from services.frontend.audio.pcm import Samples
from services.frontend.audio.segment_pcm import SegmentPcm
from services.frontend.speaking.segment_queue import Segment
from services.frontend.wakeup import Wakeup


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
    pcm: SegmentPcm
    """What the client has not taken yet."""
    codes: int = 0
    samples: int = 0
    """Samples that went out, the gap before the segment included."""
    finish_reason: FinishReason = FinishReason.NONE

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not FinishReason.NONE


@dataclass(frozen=True, slots=True)
class Spoken:
    """A run of samples."""

    samples: Samples
    segment: SpokenSegment | None
    """None for the silence after the last one."""
    start_sample: int
    is_segment_end: bool = False
    """Set on the segment's last piece, which may be empty."""


class SpeechOutput:
    """Hands out the segments' samples in order, whatever order they are finished or cancelled in.

    A segment that ends, at whatever point, ends in a fade: its last `fade_samples` wait until more of it comes or
    its end is known, and no longer.

    Args:
        wakeup: The utterance's own.
        gap_samples: Silence between two segments that are heard; none at the end.
        lead_samples: How many samples may wait for the client before the stages have to.
        tail_samples: Silence after the last segment, if any was heard.
        fade_samples: Length of a segment's fade.
        stall_seconds: How long the stages wait for a client that takes nothing.
        max_piece_samples: Longest run of a segment handed out at once.
    """

    def __init__(
        self,
        wakeup: Wakeup,
        *,
        gap_samples: int,
        lead_samples: int,
        tail_samples: int = 0,
        fade_samples: int = 0,
        stall_seconds: float = 60.0,
        max_piece_samples: int = 32_000,
    ) -> None:
        self._wakeup = wakeup
        self._gap_samples = gap_samples
        # Samples that wait for their fade are not the client's to take: it must not be waited for.
        self._lead_samples = lead_samples + fade_samples
        self._tail_samples = tail_samples
        self._fade_samples = fade_samples
        self._stall_seconds = stall_seconds
        self._max_piece_samples = max_piece_samples
        self._open: deque[SpokenSegment] = deque()
        self._num_buffered = 0
        self._next_sample = 0
        self._is_closed = False
        self._failure: BaseException | None = None

    @property
    def is_idle(self) -> bool:
        """Whether every segment that began has gone out."""
        return not self._open

    @property
    def has_room(self) -> bool:
        return self._num_buffered < self._lead_samples

    def begin(self, segment: Segment) -> None:
        """Give a segment its place in the order."""
        self._open.append(SpokenSegment(segment, SegmentPcm(self._fade_samples)))

    def find(self, index: int) -> SpokenSegment | None:
        """The segment, unless its last sample has gone out or it never began."""
        return next((each for each in self._open if each.segment.index == index), None)

    async def put(self, index: int, samples: Samples) -> None:
        """Take in samples, waiting while the client is too far behind.

        Raises:
            DeadlineError: The client took nothing for `stall_seconds`.
        """
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._wakeup.until(lambda: self.has_room)
        except TimeoutError:
            raise DeadlineError(
                f"the client took no audio for {self._stall_seconds:g} s", reason=Reason.CLIENT_STALLED
            ) from None
        spoken = self.find(index)
        if spoken is None or spoken.is_finished:
            return
        spoken.pcm.append(samples)
        self._num_buffered += len(samples)
        self._wakeup.notify()

    def finish(self, index: int, reason: FinishReason) -> None:
        """No more samples of this segment come."""
        spoken = self.find(index)
        if spoken is not None and not spoken.is_finished:
            spoken.finish_reason = reason
            spoken.pcm.end()
        self._wakeup.notify()

    def cancel(self, index: int) -> bool:
        """Drop what is left of a segment, but for a fade of what is heard; False when it is out or unknown."""
        spoken = self.find(index)
        if spoken is None:
            return False
        fading = self._fade_samples if spoken.samples else 0
        if spoken.is_finished and len(spoken.pcm) <= fading:
            return False
        self._num_buffered -= len(spoken.pcm)
        if spoken.samples:
            spoken.pcm.cut()
        else:
            spoken.pcm.drop()
        self._num_buffered += len(spoken.pcm)
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
        await self._wakeup.until(lambda: self._is_closed or self._has_next())
        if self._failure is not None:
            raise self._failure
        spoken = self._next() if self._has_next() else self._tail()
        self._wakeup.notify()
        return spoken

    def _has_next(self) -> bool:
        return bool(self._open) and (self._open[0].pcm.num_ready > 0 or self._open[0].is_finished)

    def _next(self) -> Spoken:
        head = self._open[0]
        samples = head.pcm.take(self._max_piece_samples)
        self._num_buffered -= len(samples)
        if len(samples) and self._next_sample and not head.samples:
            samples = np.concatenate([np.zeros(self._gap_samples, np.int16), samples])
        is_end = head.is_finished and not len(head.pcm)
        if is_end:
            self._open.popleft()
        head.samples += len(samples)
        return self._counted(Spoken(samples, head, self._next_sample, is_end))

    def _tail(self) -> Spoken | None:
        """The silence at the end, once."""
        size, self._tail_samples = self._tail_samples, 0
        if not size or not self._next_sample:
            return None
        return self._counted(Spoken(np.zeros(size, np.int16), None, self._next_sample))

    def _counted(self, spoken: Spoken) -> Spoken:
        self._next_sample += len(spoken.samples)
        return spoken
