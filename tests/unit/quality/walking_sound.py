"""Frames of the walking engines: as many as the mel has."""

from __future__ import annotations

from bench.quality.scores import Sound
from services.common.arrays import Array
from services.common.checkpoint import PreprocessParams
from tests.unit.quality.walking_engines import HOP


class HopSound(Sound):
    def log_mel(self, samples: Array) -> Array:
        return samples[::HOP, None]


SOUND = HopSound(HOP, 400, PreprocessParams())
