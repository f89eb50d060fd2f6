"""One segment in work: its prefix, its codes so far, and the chunks in which they leave."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from services.common.arrays import Array
from services.common.stage.session import Chunk, FinishReason
from services.gpt_worker.model.decoding import NextCode, RowOutput
from services.gpt_worker.model.sampling import CodeChooser
from services.gpt_worker.model.unified_voice import Positions, code_position


@dataclass(slots=True)
class SegmentDecode:
    """Codes are chosen one by one and leave in groups, whose borders are multiples of the group size in the segment."""

    segment: int
    row: int
    """Of the cache."""
    codes_per_chunk: int
    max_codes: int
    stop_code: int
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

    def advance(self, output: RowOutput) -> FinishReason:
        """Take the code that follows, and say why the segment ends there, if it does."""
        if self.replay:
            # The very steps that made these codes: their keys and values come out bit for bit the same.
            code = self.replay.popleft()
            self.chooser.replay([code])
            self._count(code)
            return FinishReason.NONE
        code = self.chooser.choose(output.logits)
        if code == self.stop_code:
            return FinishReason.STOP
        self._count(code)
        self.codes.append(code)
        self.latents.append(output.latent)
        return FinishReason.MAX_CODES if self.count >= self.max_codes else FinishReason.NONE

    def take_group(self, reason: FinishReason, width: int) -> Chunk | None:
        """What may leave now: a complete group, or with a reason all that is left, as the segment's last chunk.

        Args:
            reason: Why the segment ends, if it does.
            width: D of the latents.
        """
        is_complete = bool(self.codes) and self.count % self.codes_per_chunk == 0
        if not (reason or is_complete):
            return None
        if not self.codes:
            return end_without_codes(self.segment, self.next_start, reason, width)
        codes, latents, start = self.codes, self.latents, self.next_start
        self.codes, self.latents, self.next_start = [], [], start + len(codes)
        tensors = {"codes": np.array(codes, np.int32), "latents": np.stack(latents)}
        return Chunk(self.segment, start, tensors, is_segment_end=bool(reason), finish_reason=reason)

    def _count(self, code: int) -> None:
        self.last_code = code
        self.count += 1


def end_without_codes(segment: int, start: int, reason: FinishReason, width: int) -> Chunk:
    """The last chunk of a segment of which nothing is left to give; `width` is D of the latents."""
    nothing = {"codes": np.zeros(0, np.int32), "latents": np.zeros((0, width), np.float32)}
    return Chunk(segment, start, nothing, is_segment_end=True, finish_reason=reason)
