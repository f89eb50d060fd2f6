"""The speech of one utterance in the messages that a caller gets: resampled, cut, encoded, with what is in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.frontend.audio.cutting import Cutter
from services.frontend.audio.encoding import encode, max_samples
from services.frontend.audio.format import AudioFormat
from services.frontend.audio.pcm import Floats, to_floats
from services.frontend.audio.resampling import Resampler
from services.frontend.speaking.segment_map import EndedSegment, SegmentMap
from services.frontend.speaking.speech_output import Spoken, SpokenSegment


@dataclass(frozen=True, slots=True)
class Packet:
    """What one message says of the sound. Counts are at the rate that is sent."""

    audio: bytes
    """Encoded, without a file's header."""
    start_sample: int
    num_samples: int
    segment: SpokenSegment | None
    """That of the first sample, or the last one heard where there is none; None where nothing was heard."""
    segment_ends: tuple[EndedSegment, ...]
    """Those whose last sample is in here, and those without samples that ended meanwhile."""
    is_last: bool


class Packets:
    """Makes an utterance's packets. Every one but the last has audio; the last one may be empty.

    Args:
        audio: What the caller asked for.
        model_rate_hz: Rate of what is pushed.
    """

    def __init__(self, audio: AudioFormat, model_rate_hz: int) -> None:
        self._encoding = audio.encoding
        self._resampler = Resampler(model_rate_hz, audio.sample_rate_hz)
        self._cutter = Cutter(audio.chunk_samples, max_samples=max_samples(audio.encoding))
        self._map = SegmentMap(model_rate_hz, audio.sample_rate_hz)
        self._next_sample = 0

    def push(self, spoken: Spoken) -> Iterator[Packet]:
        """Take in a run of samples; yield the packets that are whole now."""
        self._map.note(spoken)
        for run in self._cutter.push(self._resampler.push(to_floats(spoken.samples))):
            yield self._packet(run)

    def finish(self) -> Iterator[Packet]:
        """Yield the rest: whole packets first, then the last one."""
        runs = list(self._cutter.push(self._resampler.finish()))
        rest = self._cutter.finish()
        if len(rest) or not runs:
            runs.append(rest)
        for position, run in enumerate(runs, start=1):
            yield self._packet(run, is_last=position == len(runs))

    def _packet(self, run: Floats, *, is_last: bool = False) -> Packet:
        start, self._next_sample = self._next_sample, self._next_sample + len(run)
        segment, ended = self._map.pass_over(start, self._next_sample)
        return Packet(encode(run, self._encoding), start, len(run), segment, ended, is_last)
