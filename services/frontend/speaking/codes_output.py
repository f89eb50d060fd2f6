"""The codes of one utterance, kept by segment; no sound is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.frontend.speaking.segment_queue import Segment
from services.frontend.speaking.speech_output import FinishReason
from services.frontend.wakeup import Wakeup


@dataclass(eq=False, slots=True)
class CodedSegment:
    """A segment and its codes."""

    segment: Segment
    codes: int = 0
    """Instants that have codes."""
    values: list[int] = field(default_factory=list)
    """Those of one instant together."""
    finish_reason: FinishReason = FinishReason.NONE


class CodesOutput:
    """Takes the codes of all segments in; the text's length bounds them."""

    has_room = True

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        self._segments: dict[int, CodedSegment] = {}

    @property
    def segments(self) -> list[CodedSegment]:
        return list(self._segments.values())

    def begin(self, segment: Segment) -> None:
        self._segments[segment.index] = CodedSegment(segment)

    def find(self, index: int) -> CodedSegment | None:
        return self._segments.get(index)

    def put(self, index: int, values: Sequence[int]) -> None:
        self._segments[index].values.extend(values)

    def finish(self, index: int, reason: FinishReason) -> None:
        self._segments[index].finish_reason = reason
        self._wakeup.notify()

    def cancel(self, index: int) -> bool:
        """Nobody can cancel a segment of an analysis."""
        return False
