"""One call that speaks, as its listener saw it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from triptych import AsyncAudioStream, Audio, Timings, TtsError

from bench.load import playback
from bench.load.audible import audible_from
from bench.load.playback import Gap, Piece

FIRST_AUDIO_SECONDS = 0.04
"""The first piece that is at least so long is the first audio; a shorter one is a trick."""
_EXACT = 1e-6
NO_AUDIO = "NO_AUDIO"
"""The failure of a call that ended well and had nothing to hear."""

Clock = Callable[[], float]
CpuMeter = Callable[[], Mapping[str, float]]
"""Gives the CPU seconds of each process so far."""


@dataclass
class Call:
    """What came of one request; times in seconds on the run's clock."""

    asked: float
    """When the request was sent."""
    characters: int
    pieces: list[Piece] = field(default_factory=list)
    ended: float = 0.0
    audible_offset: float | None = None
    """Where in the speech it becomes audible; None when it never does."""
    seed: int = 0
    """Of its speech: with its text it says what would be rendered again."""
    timings: Timings | None = None
    """As the gateway measured them; None when the call did not end well."""
    failure: str = ""
    """Why the call failed; empty when it did not."""
    first_audio_cpu: Mapping[str, float] = field(default_factory=dict)
    """CPU seconds of each process from the request to the first piece; of work beside this call too."""
    cpu: Mapping[str, float] = field(default_factory=dict)
    """The same to the end of the call."""

    @property
    def audio_seconds(self) -> float:
        return sum(piece.seconds for piece in self.pieces)

    @property
    def total_seconds(self) -> float:
        return self.ended - self.asked

    @property
    def real_time_factor(self) -> float:
        """Seconds from the request to its last audio, per second of speech."""
        return self.total_seconds / self.audio_seconds

    @property
    def first_audio_seconds(self) -> float | None:
        """From the request to when 40 ms have come, in however many pieces; of less speech, all of it."""
        seconds = 0.0
        for index, piece in enumerate(self.pieces, start=1):
            seconds += piece.seconds
            if seconds >= FIRST_AUDIO_SECONDS - _EXACT or index == len(self.pieces):
                return piece.arrived - self.asked
        return None

    @property
    def first_audible_seconds(self) -> float | None:
        """From the request to the first sound that is heard; leading silence is in it."""
        if self.audible_offset is None:
            return None
        heard = playback.heard_at(self.pieces, self.audible_offset)
        return None if heard is None else heard - self.asked

    @property
    def gaps(self) -> list[Gap]:
        return playback.gaps(self.pieces)


def _no_meter() -> Mapping[str, float]:
    return {}


async def listen(
    stream: AsyncAudioStream, characters: int, clock: Clock, meter: CpuMeter = _no_meter, *, seed: int = 0
) -> Call:
    """Make a call and take all of its audio; a failure is kept in what is returned, and so is silence."""
    before = meter()
    call = Call(clock(), characters, seed=seed)
    heard: list[Audio] = []
    try:
        async with stream:
            async for audio in stream:
                call.pieces.append(Piece(clock(), audio.duration_seconds))
                if not heard:
                    call.first_audio_cpu = _since(before, meter())
                heard.append(audio)
                call.timings = audio.timings or call.timings
    except TtsError as error:
        call.failure = error.reason or type(error).__name__
    if not call.failure and not call.audio_seconds:
        call.failure = NO_AUDIO
    call.ended = call.pieces[-1].arrived if call.pieces and not call.failure else clock()
    call.cpu = _since(before, meter())
    if heard:
        samples = np.concatenate([audio.samples for audio in heard])
        call.audible_offset = audible_from(samples, heard[0].sample_rate_hz)
    return call


def _since(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds - before[name] for name, seconds in now.items()}
