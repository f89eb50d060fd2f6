"""The figures of one policy, gathered over many speeches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from bench.quality import playback
from bench.quality.material import Speech
from bench.quality.policies import Variant
from bench.quality.rendering import Rendered
from bench.quality.seams import Jumps, Places, Ratio, energy_jumps, places, ratio_of_means, ratio_p95, spectral_jumps
from services.common.arrays import Array
from services.common.checkpoint import PreprocessParams
from services.common.stage.policy import Policy
from services.s2mel_worker.model.mel import log_mel
from services.s2mel_worker.model.windows import frames_of

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


@dataclass
class JumpPairs:
    """Jumps of one kind: an array per speech, of the stream and of the whole render."""

    streamed: list[Jumps] = field(default_factory=list)
    whole: list[Jumps] = field(default_factory=list)

    def add(self, streamed: Jumps, whole: Jumps) -> None:
        self.streamed.append(streamed)
        self.whole.append(whole)

    def ratio(self) -> Ratio:
        return ratio_p95(self.streamed, self.whole)

    def mean_ratio(self) -> Ratio:
        return ratio_of_means(self.streamed, self.whole)


class Reference:
    """A whole render with what is measured of it once."""

    def __init__(self, rendered: Rendered, sound: Sound) -> None:
        self.mel = rendered.mel
        self.samples = rendered.samples
        self.heard_mel = sound.log_mel(rendered.samples)


class Score:
    """Grows with every speech."""

    def __init__(self, variant: Variant, sound: Sound) -> None:
        self.variant = variant
        self.sound = sound
        self._blend = blended_frames(variant.policy)
        self.num_seams = 0
        self._mel_l1: list[float] = []
        self._energy, self._spectrum, self._mel = JumpPairs(), JumpPairs(), JumpPairs()
        self._vocoder_energy, self._vocoder_spectrum = JumpPairs(), JumpPairs()
        self._first_audio: list[float] = []
        self._streams: list[float] = []
        self._real_time: list[float] = []

    @property
    def num_speeches(self) -> int:
        return len(self._mel_l1)

    def add(self, speech: Speech, streamed: Rendered, whole: Reference) -> None:
        """Compare a stream with the whole render of the same speech."""
        self._mel_l1.append(float(np.abs(streamed.mel - whole.mel).mean()))
        heard = self.sound.log_mel(streamed.samples)
        self.num_seams += len(streamed.window_starts)
        borders = places(streamed.window_starts, self._blend, len(heard))
        pieces = places(streamed.vocoder_starts(self.sound.frame_samples), 0, len(heard))
        self._energy.add(*(self._loudness(side.samples, borders) for side in (streamed, whole)))
        self._spectrum.add(*(spectral_jumps(mel, borders) for mel in (heard, whole.heard_mel)))
        self._mel.add(*(spectral_jumps(side.mel, borders) for side in (streamed, whole)))
        self._vocoder_energy.add(*(self._loudness(side.samples, pieces) for side in (streamed, whole)))
        self._vocoder_spectrum.add(*(spectral_jumps(mel, pieces) for mel in (heard, whole.heard_mel)))
        ready, rate = playback.ready_times(speech, streamed.packets), self.sound.rate_hz
        self._first_audio.append(ready[playback.first_heard(streamed.packets, rate)])
        self._streams.append(playback.streams_without_gap(streamed.packets, ready, rate))
        self._real_time.append(playback.real_time_factor(streamed.packets, ready, rate))

    def _loudness(self, samples: Array, frames: Places) -> Jumps:
        return energy_jumps(samples, frames, frame_samples=self.sound.frame_samples, rate_hz=self.sound.rate_hz)

    def row(self) -> Row:
        energy, spectrum = self._energy.ratio(), self._spectrum.ratio()
        return Row(
            name=self.variant.name,
            axis=self.variant.axis,
            axis_value=self.variant.value,
            num_speeches=self.num_speeches,
            num_seams=self.num_seams,
            energy=energy,
            spectrum=spectrum,
            mel=self._mel.ratio(),
            seams=_larger(energy, spectrum),
            mean_seams=_larger(self._energy.mean_ratio(), self._spectrum.mean_ratio()),
            vocoder_seams=_larger(self._vocoder_energy.ratio(), self._vocoder_spectrum.ratio()),
            mel_l1=float(np.mean(self._mel_l1)),
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
    num_speeches: int
    num_seams: int
    energy: Ratio
    spectrum: Ratio
    mel: Ratio
    """At windows' borders, in the mel that S2Mel gave."""
    seams: Ratio
    """The larger of energy and spectrum."""
    mean_seams: Ratio
    """The same of means instead of 95th percentiles."""
    vocoder_seams: Ratio
    """The same at the borders of the vocoder's pieces."""
    mel_l1: float
    """Mean distance to the whole render's mel."""
    first_audio_ms: float
    """Median by the cost model."""
    streams: float
    """How many streams one core carries without a gap, but for one speech in twenty; by the cost model."""
    real_time: float
    """Median CPU seconds per second of sound."""


def _larger(first: Ratio, second: Ratio) -> Ratio:
    return second if second.value > first.value else first


def blended_frames(policy: Policy) -> int:
    """Frames that a crossfade really blends: the window before has no more than its look-ahead."""
    return min(policy.crossfade_frames, frames_of(policy.look_ahead_codes))
