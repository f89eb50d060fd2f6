"""How far the streamed vocoder is from the whole render, by how many frames it sees before and behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.quality.stages import StageRun
from services.common.arrays import Array
from services.common.stage.engine import Engine
from services.common.stage.policy import Policy
from services.common.stage.session import Chunk

CHUNK_FRAMES = 31
"""A window of 18 codes."""
BEHIND = (0, 2, 4, 6, 8, 12, 16, 24)
BEFORE = (8, 12, 16)
_WIDE = 24


@dataclass(frozen=True)
class Difference:
    """Streamed against whole, in int16 steps."""

    before: int
    behind: int
    errors: Array
    """int32 (N,), absolute."""
    power: float
    """Mean square of the whole render."""

    @property
    def largest(self) -> int:
        return int(self.errors.max())

    @property
    def most_of_999(self) -> float:
        """The 99.9th percentile."""
        return float(np.percentile(self.errors, 99.9))

    @property
    def signal_to_error_db(self) -> float:
        """Infinite where both are the same."""
        noise = float(np.square(self.errors, dtype=np.float64).mean())
        return 10 * float(np.log10(self.power / noise)) if noise else float("inf")


def differences(engine: Engine, mel: Array, pairs: Sequence[tuple[int, int]]) -> Iterator[Difference]:
    """Vocode a recording's own mel once whole, then in chunks with each pair of frames before and behind.

    Args:
        engine: The vocoder's.
        mel: float32 (T, M)
        pairs: Frames before and behind.
    """
    whole = _sound(engine, mel, len(mel), replace(engine.spec.default_policy, is_whole=True))
    power = float(np.square(whole, dtype=np.float64).mean())
    for before, behind in pairs:
        seen = replace(engine.spec.default_policy, vocoder_context_frames=before, vocoder_look_ahead_frames=behind)
        streamed = _sound(engine, mel, CHUNK_FRAMES, seen)
        yield Difference(before, behind, np.abs(streamed.astype(np.int32) - whole), power)


def together(found: Sequence[Difference]) -> Difference:
    """The same pair over several recordings."""
    weights = [len(each.errors) for each in found]
    power = float(np.average([each.power for each in found], weights=weights))
    return Difference(found[0].before, found[0].behind, np.concatenate([each.errors for each in found]), power)


def all_pairs() -> list[tuple[int, int]]:
    """Every number of frames behind with enough before, then every number before with enough behind."""
    return [*((_WIDE, behind) for behind in BEHIND), *((before, _WIDE) for before in BEFORE)]


def _sound(engine: Engine, mel: Array, chunk_frames: int, policy: Policy) -> Array:
    """int16 (N,)"""
    pieces = []
    with StageRun(engine, seed=0, policy=policy, params={}, voice={}) as run:
        for start in range(0, len(mel), chunk_frames):
            part = mel[start : start + chunk_frames]
            chunk = Chunk(0, start, {"mel": part}, is_segment_end=start + chunk_frames >= len(mel))
            pieces += [pcm.tensors["pcm"] for pcm in run.push(chunk)]
    return np.concatenate(pieces)
