"""Where segments lie among the samples that are sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.frontend.audio.resampling import position_at
from services.frontend.speaking.speech_output import Spoken, SpokenSegment


@dataclass(frozen=True, slots=True)
class EndedSegment:
    """A segment whose last sample is out."""

    spoken: SpokenSegment
    num_samples: int
    """With the gap before it, at the rate that is sent."""


@dataclass(slots=True)
class _Stretch:
    """Borders at the rate that is sent; neighbours share theirs."""

    spoken: SpokenSegment
    start: int
    end: int | None = None

    @property
    def is_heard(self) -> bool:
        return self.end is None or self.end > self.start


class SegmentMap:
    """Takes borders as they are made and tells them message by message. Both only go forward."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._from_hz = from_hz
        self._to_hz = to_hz
        self._stretches: deque[_Stretch] = deque()
        self._last_heard: SpokenSegment | None = None

    def note(self, spoken: Spoken) -> None:
        """Take in a run of samples at the model's rate."""
        if spoken.segment is None:
            return
        if not self._stretches or self._stretches[-1].spoken is not spoken.segment:
            self._stretches.append(_Stretch(spoken.segment, self._sent_at(spoken.start_sample)))
        if spoken.is_segment_end:
            self._stretches[-1].end = self._sent_at(spoken.start_sample + len(spoken.samples))

    def pass_over(self, start: int, end: int) -> tuple[SpokenSegment | None, tuple[EndedSegment, ...]]:
        """Return the segment of sample `start`, the last one heard beyond all, and those that end by sample `end`."""
        segment = self._segment_at(start)
        ended = []
        while self._stretches and (border := self._stretches[0].end) is not None and border <= end:
            stretch = self._stretches.popleft()
            ended.append(EndedSegment(stretch.spoken, border - stretch.start))
            if stretch.is_heard:
                self._last_heard = stretch.spoken
        return segment, tuple(ended)

    def _segment_at(self, sample: int) -> SpokenSegment | None:
        begun = [each.spoken for each in self._stretches if each.start <= sample and each.is_heard]
        return begun[-1] if begun else self._last_heard

    def _sent_at(self, model_sample: int) -> int:
        return position_at(model_sample, self._from_hz, self._to_hz)
