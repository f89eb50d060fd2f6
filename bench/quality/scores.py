"""The figures of one policy, gathered over many speeches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from bench.quality import playback
from bench.quality.material import Speech
from bench.quality.policies import Variant, blended_frames
from bench.quality.ratios import Ratio, Size, mean, p95, worst_ratio
from bench.quality.rendering import Rendered
from bench.quality.seams import Jumps, Places, energy_jumps, places, spectral_jumps
from services.common.arrays import Array
from services.common.checkpoint import PreprocessParams
from services.common.stage.policy import Policy
from services.s2mel_worker.model.mel import log_mel

_LEAST_STREAMS_PERCENTILE = 5


@dataclass(frozen=True)
class Sound:
    """How sound is cut into frames."""

    frame_samples: int
    rate_hz: int
    mel: PreprocessParams

    def log_mel(self, samples: Array) -> Array:
        """(N,) to (N // frame_samples, bins)."""
        return log_mel(torch.from_numpy(samples), self.mel).numpy()


class Reference:
    """A whole render with what is measured of it once."""

    def __init__(self, rendered: Rendered, sound: Sound) -> None:
        self.rendered = rendered
        self.heard_mel = sound.log_mel(rendered.samples)


@dataclass
class JumpPairs:
    """Jumps of one kind: an array per speech, of the stream and of the whole render."""

    streamed: list[Jumps] = field(default_factory=list)
    whole: list[Jumps] = field(default_factory=list)

    def add(self, streamed: Jumps, whole: Jumps) -> None:
        self.streamed.append(streamed)
        self.whole.append(whole)

    def extend(self, more: JumpPairs) -> None:
        self.streamed += more.streamed
        self.whole += more.whole

    def ratio(self, size: Size = p95) -> Ratio:
        return worst_ratio(self.streamed, self.whole, size)


@dataclass
class Joins:
    """Jumps of both kinds that can be heard at the same seams."""

    energy: JumpPairs = field(default_factory=JumpPairs)
    spectrum: JumpPairs = field(default_factory=JumpPairs)

    def extend(self, more: Joins) -> None:
        self.energy.extend(more.energy)
        self.spectrum.extend(more.spectrum)

    def ratio(self, size: Size = p95) -> Ratio:
        """Of the worst place of either kind; a mean of the kinds would let one hide the other."""
        return worst_ratio(self._both("streamed"), self._both("whole"), size)

    def _both(self, side: str) -> list[Jumps]:
        parts = zip(getattr(self.energy, side), getattr(self.spectrum, side), strict=True)
        return [np.concatenate(pair, axis=1) for pair in parts]


class Score:
    """Grows with every speech."""

    def __init__(self, variant: Variant, sound: Sound) -> None:
        self.variant = variant
        self.sound = sound
        self._blend = blended_frames(variant.policy)
        self.num_seams = 0
        self._mel_l1: list[float] = []
        self._best_mel_l1: list[float] = []
        self._windows, self._pieces, self._mel = Joins(), Joins(), JumpPairs()
        self._first_audio: list[float] = []
        self._streams: list[float] = []
        self._real_time: list[float] = []

    @property
    def num_speeches(self) -> int:
        return len(self._mel_l1)

    def add(self, speech: Speech, streamed: Rendered, whole: Reference, best_mel: Array | None = None) -> None:
        """Compare a stream with whole renders of the same codes and noise.

        Args:
            speech: What is spoken.
            streamed: The stream.
            whole: The whole render with the stream's prompt and solver.
            best_mel: The mel (T, M) of the best whole render that the checkpoint has, where there is one.
        """
        self._mel_l1.append(float(np.abs(streamed.mel - whole.rendered.mel).mean()))
        if best_mel is not None:
            self._best_mel_l1.append(float(np.abs(streamed.mel - best_mel).mean()))
        self.num_seams += len(streamed.window_starts)
        ours = Reference(streamed, self.sound)
        borders = places(streamed.window_starts, self._blend, len(ours.heard_mel))
        pieces = places(streamed.vocoder_starts(self.sound.frame_samples), 0, len(ours.heard_mel))
        self._compare(self._windows, ours, whole, borders)
        self._compare(self._pieces, ours, whole, pieces)
        self._mel.add(*(spectral_jumps(side.rendered.mel, borders) for side in (ours, whole)))
        self._note_times(speech, streamed)

    def extend(self, more: Score) -> None:
        """Take over what was measured of the same policy elsewhere, but for its times: they are of another process."""
        self.num_seams += more.num_seams
        self._mel_l1 += more._mel_l1
        self._windows.extend(more._windows)
        self._pieces.extend(more._pieces)
        self._mel.extend(more._mel)

    def _compare(self, joins: Joins, ours: Reference, whole: Reference, at: Places) -> None:
        joins.energy.add(*(self._loudness(side.rendered.samples, at) for side in (ours, whole)))
        joins.spectrum.add(*(spectral_jumps(side.heard_mel, at) for side in (ours, whole)))

    def _loudness(self, samples: Array, at: Places) -> Jumps:
        return energy_jumps(samples, at, frame_samples=self.sound.frame_samples, rate_hz=self.sound.rate_hz)

    def _note_times(self, speech: Speech, streamed: Rendered) -> None:
        ready, rate = playback.ready_times(speech, streamed.packets), self.sound.rate_hz
        self._first_audio.append(ready[playback.first_heard(streamed.packets, rate)])
        self._streams.append(playback.streams_without_gap(streamed.packets, ready, rate))
        self._real_time.append(playback.real_time_factor(streamed.packets, ready, rate))

    def row(self) -> Row:
        return Row(
            name=self.variant.name,
            axis=self.variant.axis,
            axis_value=self.variant.value,
            policy=self.variant.policy,
            num_speeches=self.num_speeches,
            num_seams=self.num_seams,
            seams=self._windows.ratio(),
            energy=self._windows.energy.ratio(),
            spectrum=self._windows.spectrum.ratio(),
            mel=self._mel.ratio(),
            mean_seams=self._windows.ratio(mean),
            vocoder_seams=self._pieces.ratio(),
            mel_l1=float(np.mean(self._mel_l1)),
            best_mel_l1=float(np.mean(self._best_mel_l1)),
            first_audio_ms=1000 * float(np.median(self._first_audio)),
            streams=float(np.percentile(self._streams, _LEAST_STREAMS_PERCENTILE, method="lower")),
            real_time=float(np.median(self._real_time)),
        )


@dataclass(frozen=True)
class Row:
    """One policy's figures."""

    name: str
    axis: str
    axis_value: float
    policy: Policy
    num_speeches: int
    num_seams: int
    seams: Ratio
    """Of energy and spectrum: its places are those of energy and, behind them, those of spectrum."""
    energy: Ratio
    spectrum: Ratio
    mel: Ratio
    """At windows' borders, in the mel that S2Mel gave."""
    mean_seams: Ratio
    """Like `seams`, of means instead of 95th percentiles."""
    vocoder_seams: Ratio
    """Like `seams`, at the borders of the vocoder's pieces."""
    mel_l1: float
    """Mean distance to the mel of the whole render with the same prompt and solver: what the windows do."""
    best_mel_l1: float
    """Mean distance to that of the checkpoint's best whole render: what the whole policy does."""
    first_audio_ms: float
    """Median by the cost model."""
    streams: float
    """How many streams one core carries without a gap, but for one speech in twenty; by the cost model."""
    real_time: float
    """Median CPU seconds per second of sound."""
