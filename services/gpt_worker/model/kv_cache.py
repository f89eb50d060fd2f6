"""Keys and values of running segments: fixed memory, one row per segment."""

from __future__ import annotations

import torch
from torch import Tensor

BUCKET = 64
"""Attention reads a whole number of buckets, so its shape depends on the row's own length alone."""


def bucketed(length: int) -> int:
    """The smallest multiple of `BUCKET` that holds `length` positions."""
    return -(-length // BUCKET) * BUCKET


class KeyValueCache:
    """Not thread-safe. A row belongs to one segment from `reset` to the next `reset`."""

    def __init__(
        self,
        *,
        rows: int,
        layers: int,
        heads: int,
        max_length: int,
        head_width: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.max_length = bucketed(max_length)
        shape = (rows, layers, heads, self.max_length, head_width)
        # Zeros, not empty: positions behind the mask are multiplied by 0, and 0 times NaN is NaN.
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths = [0] * rows

    def reset(self, row: int) -> None:
        """Forget a row; its memory is reused as it is."""
        self.lengths[row] = 0

    def write(self, row: int, layer: int, start: int, keys: Tensor, values: Tensor) -> None:
        """Store keys and values (H, t, d) at positions start .. start + t."""
        stop = start + keys.shape[1]
        if stop > self.max_length:
            raise ValueError(f"row of {self.max_length} positions cannot hold position {stop}")
        self.keys[row, layer, :, start:stop] = keys
        self.values[row, layer, :, start:stop] = values

    def read(self, row: int, layer: int, length: int) -> tuple[Tensor, Tensor]:
        """Views (H, length, d) of the first positions."""
        return self.keys[row, layer, :, :length], self.values[row, layer, :, :length]

    def reorder(self, sources: list[int]) -> None:
        """Make row i continue row sources[i]; for beams."""
        reached = max(self.lengths)
        index = torch.tensor(sources, device=self.keys.device)
        for store in (self.keys, self.values):
            store[..., :reached, :] = store[:, :, :, :reached].index_select(0, index)
        self.lengths = [self.lengths[source] for source in sources]
