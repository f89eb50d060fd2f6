"""Which renders share a batch, and how large it is: pure functions of lengths. Knows no torch."""

from __future__ import annotations

from collections.abc import Sequence

MAX_PADDING = 1.15
"""Frames that a batch computes per frame that is wanted, at most."""

_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def size_bucket(length: int) -> int:
    """The length rounded up to one of eight sizes an octave: at most an eighth too many, few shapes to capture."""
    step = max(1, 1 << max(0, length.bit_length() - 4))
    return -(-length // step) * step


def rows_bucket(num_rows: int) -> int:
    """The number of rows rounded up to one that is captured."""
    return next((rows for rows in _ROWS if rows >= num_rows), num_rows)


def groups(lengths: Sequence[int], *, most: int, max_padding: float = MAX_PADDING) -> list[list[int]]:
    """Sort items into batches of at most `most` that are not padded beyond the bound.

    Returns:
        indices into `lengths`, every one once; the longest items first.
    """
    made: list[list[int]] = []
    width = total = 0
    for item in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        total += lengths[item]
        if made and len(made[-1]) < most and width * (len(made[-1]) + 1) <= max_padding * total:
            made[-1].append(item)
        else:
            made.append([item])
            width, total = size_bucket(lengths[item]), lengths[item]
    return made
