"""Keys and values of running segments: fixed memory, one row per segment."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BUCKET = 64
"""Attention reads a whole number of buckets, so its shape depends on the row's own length alone."""


def bucketed(length: int, bucket: int = BUCKET) -> int:
    """The smallest multiple of `bucket` that holds `length` positions."""
    return -(-length // bucket) * bucket


class LayerPast(NamedTuple):
    """Views of one row's memory in one layer."""

    store: Tensor  # (2, H, L, d), keys and values at all positions
    keys: Tensor  # (H, d, readable)
    values: Tensor  # (H, readable, d)


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
        shape = (rows, layers, 2, heads, self.max_length, head_width)
        # Zeros, not empty: positions behind the mask are multiplied by 0, and 0 times NaN is NaN.
        self.store = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths = [0] * rows
        # 0 for a position that may be read, -inf behind it: every mask is a part of this.
        self._mask = torch.zeros(2 * self.max_length, device=device, dtype=dtype)
        self._mask[self.max_length :] = float("-inf")
        self._views: dict[int, tuple[int, list[LayerPast]]] = {}

    @property
    def row_bytes(self) -> int:
        return self.store[0].nbytes

    def reset(self, row: int) -> None:
        """Forget a row; its memory is reused as it is."""
        self.lengths[row] = 0

    def layers(self, row: int, length: int) -> list[LayerPast]:
        """Views of every layer of a row for reading `length` positions.

        Raises:
            ValueError: The row is shorter.
        """
        if length > self.max_length:
            raise ValueError(f"row of {self.max_length} positions cannot hold position {length}")
        readable, views = self._views.get(row, (0, []))
        if readable != bucketed(length):
            readable = bucketed(length)
            views = [
                LayerPast(store, store[0, :, :readable].mT, store[1, :, :readable])
                for store in self.store[row].unbind()
            ]
            self._views[row] = (readable, views)
        return views

    def mask(self, past: int, count: int) -> Tensor:
        """What to add to the scores of new positions past .. past + count, which look no further than themselves.

        Returns:
            (count, readable), 0 or -inf.
        """
        readable, start = bucketed(past + count), self.max_length - past - 1
        if count == 1:
            return self._mask[start : start + readable][None]
        rows = [self._mask[start - index : start - index + readable] for index in range(count)]
        return torch.stack(rows)

    def copy_prefix(self, row: int, count: int) -> Tensor:
        """The first positions of a row (layers, 2, H, count, d), as `paste_prefix` takes them."""
        return self.store[row, :, :, :, :count].clone()

    def paste_prefix(self, row: int, prefix: Tensor) -> None:
        """Start a row with positions that were computed before."""
        count = prefix.shape[-2]
        self.store[row, :, :, :, :count] = prefix
        self.lengths[row] = count

    def reorder(self, sources: list[int]) -> None:
        """Make row i continue row sources[i]; for beams."""
        reached = max(self.lengths)
        index = torch.tensor(sources, device=self.store.device)
        self.store[..., :reached, :] = self.store[..., :reached, :].index_select(0, index)
        self.lengths = [self.lengths[source] for source in sources]
