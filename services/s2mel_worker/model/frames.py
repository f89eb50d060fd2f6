"""Which frames of a padded batch are whose, as index tensors of fixed shape that a captured graph can read anew.

An item's *tail* is where velocities are wanted: its unknown frames, and before them as many as a WaveNet needs for
them to be exact. Letters as in `velocity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """One item's frames."""

    num_frames: int
    num_known: int
    reach: int
    """Frames before the first unknown one that the WaveNet reads."""

    @property
    def tail_start(self) -> int:
        return max(0, self.num_known - self.reach)

    @property
    def tail_frames(self) -> int:
        return self.num_frames - self.tail_start


@dataclass(frozen=True)
class Frames:
    """The layout of a batch of G rows."""

    keys: Tensor | None
    """(G, 1, 1, T) True for frames that attention may see; None where no row is padded."""
    positions: Tensor
    """(G, S) frame of each tail frame."""
    rows: Tensor
    """(G S) the same as rows of the flattened batch."""
    taps: Tensor
    """(G S K) what each tap of a convolution over the tails reads, as rows of the flattened tails."""

    @classmethod
    def of(
        cls,
        spans: Sequence[Span],
        num_taps: int,
        device: torch.device,
        *,
        num_frames: int | None = None,
        num_tail_frames: int | None = None,
    ) -> Self:
        """Lay out rows, padded to the sizes given, else to the largest row.

        With a size given there is always a mask, so that all layouts of a size have the same form.

        Beyond either end of a tail a convolution sees its mirror image, each row its own: padding cannot be told.
        """
        most = max(span.num_frames for span in spans)
        size = num_frames or most
        tail = num_tail_frames or max(span.tail_frames for span in spans)
        lengths = np.array([span.num_frames for span in spans])
        starts = np.array([span.tail_start for span in spans])
        row = np.arange(len(spans))
        positions = np.minimum(starts[:, None] + np.arange(tail), lengths[:, None] - 1)
        last = (lengths - starts - 1)[:, None, None]
        tap = np.abs(np.arange(tail)[:, None] + np.arange(num_taps) - num_taps // 2)[None]
        tap = np.clip(np.where(tap > last, 2 * last - tap, tap), 0, last)
        is_padded = num_frames is not None or size > min(lengths)
        return cls(
            keys=_tensor((np.arange(size) < lengths[:, None])[:, None, None], device) if is_padded else None,
            positions=_tensor(positions, device),
            rows=_tensor((positions + row[:, None] * size).ravel(), device),
            taps=_tensor((tap + row[:, None, None] * tail).ravel(), device),
        )

    @property
    def num_bytes(self) -> int:
        tensors = (self.keys, self.positions, self.rows, self.taps)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def copy_(self, other: Self) -> None:
        """Take over another layout of the same shape, in place."""
        if self.keys is not None and other.keys is not None:
            self.keys.copy_(other.keys)
        self.positions.copy_(other.positions)
        self.rows.copy_(other.rows)
        self.taps.copy_(other.taps)

    def tails(self, x: Tensor) -> Tensor:
        """The tails of (B, T, width): (B, S, width). B may be half of G: the halves have the same frames."""
        rows = self.rows[: len(x) * self.positions.shape[1]]
        return x.flatten(0, 1).index_select(0, rows).view(len(x), -1, x.shape[2])


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
