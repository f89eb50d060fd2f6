"""One segment in work: its prefix, its codes so far, and the chunks in which they leave."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from services.common.arrays import Array
from services.common.stage.session import Chunk, FinishReason
from services.gpt_worker.model.decoding import NextCode
from services.gpt_worker.model.sampling import CodeChooser
from services.gpt_worker.model.unified_voice import Positions, code_position


@dataclass(slots=True)
class SegmentDecode:
    """Codes are chosen one by one and leave in groups, whose borders are multiples of the group size in the segment."""

    segment: int
    row: int
    """Of the cache."""
    codes_per_chunk: int
    positions: Positions
    chooser: CodeChooser
    prefix: deque[Tensor]
    """Pieces (T, D) of the prefix that are not in the cache yet."""
    replay: deque[int]
    """Codes that another worker already made and that are still to be fed."""
    next_start: int
    """Index of the first code that has not gone out."""
    last_code: int = 0
    count: int = 0
    """Codes chosen or replayed."""
    codes: list[int] = field(default_factory=list)
    """Chosen, and not gone out."""
    latents: list[Array] = field(default_factory=list)
    """Theirs, (D,) each."""

    @property
    def next(self) -> NextCode:
        return NextCode(self.row, self.last_code, code_position(self.count, self.positions))

    @property
    def is_group_complete(self) -> bool:
        return self.count % self.codes_per_chunk == 0

    def feed_replay(self) -> None:
        """Take the next code from the replay instead of choosing one."""
        code = self.replay.popleft()
        self.chooser.replay([code])
        self._count(code)

    def add(self, code: int, latent: Array) -> None:
        """Take a chosen code."""
        self._count(code)
        self.codes.append(code)
        self.latents.append(latent)

    def take_group(self, reason: FinishReason) -> Chunk:
        """All that has not gone out; with a reason the segment's last chunk."""
        codes, latents, start = self.codes, self.latents, self.next_start
        self.codes, self.latents, self.next_start = [], [], start + len(codes)
        tensors = {"codes": np.array(codes, np.int32), "latents": np.stack(latents)}
        return Chunk(self.segment, start, tensors, is_segment_end=bool(reason), finish_reason=reason)

    def _count(self, code: int) -> None:
        self.last_code = code
        self.count += 1
