"""Segments of one utterance that are known and not yet in work."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from services.frontend.text.segment import TextWarning
from services.frontend.wakeup import Wakeup


class Segment(Protocol):
    """What the pipeline needs to know of a segment that the text front end made."""

    @property
    def index(self) -> int: ...

    @property
    def start(self) -> int:
        """Offset in the caller's text, in characters."""

    @property
    def end(self) -> int: ...

    @property
    def token_ids(self) -> Sequence[int]: ...

    @property
    def language(self) -> str: ...

    @property
    def warnings(self) -> Sequence[TextWarning]: ...


class SegmentQueue:
    """First in, first out; `put` waits while `max_segments` are waiting, so that fast text is held back."""

    def __init__(self, wakeup: Wakeup, *, max_segments: int) -> None:
        self._wakeup = wakeup
        self._max_segments = max_segments
        self._segments: deque[Segment] = deque()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._segments)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left and nothing can come."""
        return self._is_closed and not self._segments

    async def put(self, segment: Segment) -> None:
        await self._wakeup.until(lambda: len(self._segments) < self._max_segments)
        self._segments.append(segment)
        self._wakeup.notify()

    def close(self) -> None:
        """The text has ended."""
        self._is_closed = True
        self._wakeup.notify()

    def first(self) -> Segment:
        return self._segments[0]

    def pop(self) -> Segment:
        segment = self._segments.popleft()
        self._wakeup.notify()
        return segment

    def remove(self, index: int) -> None:
        """Forget a segment that nobody wants any more."""
        self._segments = deque(segment for segment in self._segments if segment.index != index)
        self._wakeup.notify()
