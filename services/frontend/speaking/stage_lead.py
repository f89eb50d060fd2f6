"""How far the first stage is ahead of the sound that the last one has given, and whether it has to wait. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from protos.tts.stages.v1 import stage_pb2
from services.frontend.request.capabilities import RATE_PARAM
from services.frontend.request.speech_request import SpeechRequest

ROUNDING_SECONDS = 1.0
"""More than stages keep back by rounding codes to frames, over the longest segment."""


@dataclass(slots=True)
class _Segment:
    seconds_ahead: float = 0.0
    is_complete: bool = False
    """The first stage has given all of it."""


class StageLead:
    """Counts by segment, so that one that is finished or cancelled leaves nothing behind.

    The first stage waits for one of two reasons, and neither can starve those behind it: the oldest segment is
    complete, so that they need nothing more to finish it; or they have so much more than the lead that the largest
    window is full.

    Args:
        lead_seconds: How far ahead the first stage may be.
        window_seconds: The most that the stages behind it need before they give anything; inf for a whole segment.
    """

    def __init__(self, *, lead_seconds: float, window_seconds: float) -> None:
        self._lead_seconds = lead_seconds
        self._window_seconds = window_seconds
        self._segments: dict[int, _Segment] = {}

    @property
    def seconds(self) -> float:
        """How far the first stage is ahead now."""
        return sum(segment.seconds_ahead for segment in self._segments.values())

    @property
    def is_reached(self) -> bool:
        """Whether the first stage has to wait."""
        ahead = self.seconds - self._lead_seconds
        if ahead <= 0 or not self._segments:
            return False
        oldest = next(iter(self._segments.values()))
        return oldest.is_complete or ahead > self._window_seconds

    def note_given(self, segment: int, seconds: float, *, is_end: bool) -> None:
        """The first stage has given so much of a segment."""
        given = self._segments.setdefault(segment, _Segment())
        given.seconds_ahead += seconds
        given.is_complete = given.is_complete or is_end

    def note_sound(self, segment: int, seconds: float) -> None:
        """The last stage has given so much of a segment."""
        given = self._segments.get(segment)
        if given is not None:
            given.seconds_ahead -= seconds

    def drop(self, segment: int) -> None:
        """A segment is finished or cancelled."""
        self._segments.pop(segment, None)


def lead_of(
    request: SpeechRequest, stages: Sequence[stage_pb2.DescribeResponse], lead_seconds: float
) -> StageLead | None:
    """The lead to hold the first stage to; None where nothing runs ahead: one stage, or one without a rate."""
    first, last = stages[0].gives, stages[-1].gives
    if len(stages) == 1 or not first.rate_numerator or last.kind != stage_pb2.EDGE_KIND_PCM:
        return None
    return StageLead(lead_seconds=lead_seconds, window_seconds=_window_seconds(request, stages))


def edge_seconds(edge: stage_pb2.Edge, num_items: int) -> float:
    """How long so many items last at the usual pace; 0 on an edge without a rate."""
    return num_items * max(edge.rate_denominator, 1) / edge.rate_numerator if edge.rate_numerator else 0.0


def pace_of(request: SpeechRequest) -> float:
    """Seconds of sound for a second of codes: the factor by which the request slows the speech."""
    specs = request.pipeline.params()
    if RATE_PARAM not in specs:
        return 1.0
    given = (inputs.params[RATE_PARAM] for inputs in request.inputs.values() if RATE_PARAM in inputs.params)
    return float(next(given, specs[RATE_PARAM].default_value or 1.0))


def _window_seconds(request: SpeechRequest, stages: Sequence[stage_pb2.DescribeResponse]) -> float:
    policy = request.policy
    if policy.is_whole:
        return math.inf
    window_codes = max(policy.first_window_codes, policy.max_window_codes) + policy.look_ahead_codes
    held_frames = policy.crossfade_frames + policy.vocoder_look_ahead_frames
    mel = next((about.gives for about in stages if about.gives.kind == stage_pb2.EDGE_KIND_MEL), stage_pb2.Edge())
    codes_seconds = pace_of(request) * edge_seconds(stages[0].gives, window_codes)
    return codes_seconds + edge_seconds(mel, held_frames) + ROUNDING_SECONDS
