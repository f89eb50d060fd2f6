"""The chunks of a session's segments, in order, for engines that work on one segment at a time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from services.common.arrays import Array, Tensors
from services.common.stage.session import Chunk, FinishReason, Session


@dataclass(slots=True)
class SegmentInput:
    """What has come of one segment."""

    segment: int
    start: int
    """Index of the first item that is held."""
    parts: list[Tensors] = field(default_factory=list)
    length: int = 0
    borders: list[int] = field(default_factory=list)
    """Index after the last item of each chunk that came."""
    num_used: int = 0
    """Chunks that count as used up."""
    has_ended: bool = False
    finish_reason: FinishReason = FinishReason.NONE

    @property
    def stop(self) -> int:
        """Index after the last item that has come."""
        return self.start + self.length

    def items(self, name: str, start: int, stop: int) -> Array:
        """The items start .. stop of one tensor, by absolute index."""
        self._join()
        return self.parts[0][name][start - self.start : stop - self.start]

    def drop_before(self, index: int) -> None:
        """Forget items that no window will read again."""
        count = min(index, self.stop) - self.start
        if count <= 0:
            return
        self._join()
        self.parts = [{name: array[count:] for name, array in self.parts[0].items()}]
        self.start, self.length = self.start + count, self.length - count

    def _join(self) -> None:
        if len(self.parts) > 1:
            self.parts = [{name: np.concatenate([part[name] for part in self.parts]) for name in self.parts[0]}]


class SegmentQueue:
    """Collects a session's chunks, and counts on it those that are used up.

    An engine says with `use` what it has worked on; whatever it drops counts by itself.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._segments: deque[SegmentInput] = deque()

    @property
    def current(self) -> SegmentInput | None:
        """The segment in work."""
        return self._segments[0] if self._segments else None

    @property
    def last_stop(self) -> int:
        """Index after the last item of the segment that came last."""
        return self._segments[-1].stop if self._segments else 0

    def push(self, chunk: Chunk) -> None:
        if not self._segments or self._segments[-1].segment != chunk.segment:
            self._segments.append(SegmentInput(chunk.segment, chunk.start))
        last = self._segments[-1]
        last.parts.append(chunk.tensors)
        last.length += chunk.length
        last.borders.append(last.stop)
        if chunk.is_segment_end:
            last.has_ended = True
            last.finish_reason = chunk.finish_reason

    def use(self, index: int) -> None:
        """Count the chunks of the current segment that end at `index` or before."""
        current = self._segments[0]
        while current.num_used < len(current.borders) and current.borders[current.num_used] <= index:
            current.num_used += 1
            self._session.used += 1

    def finish_current(self) -> None:
        self._drop(self._segments.popleft())

    def cancel(self, segment: int) -> bool:
        """Drop a segment; False when it is not here."""
        for item in self._segments:
            if item.segment == segment:
                self._segments.remove(item)
                self._drop(item)
                return True
        return False

    def _drop(self, item: SegmentInput) -> None:
        self._session.used += len(item.borders) - item.num_used
