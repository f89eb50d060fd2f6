"""Emotion from a recording or from eight weights (§6.2, §6.3); pure arithmetic on vectors.

Order of the eight: happy, angry, sad, afraid, disgusted, melancholic, surprised, calm.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

NUM_EMOTIONS = 8

_BIAS = (0.9375, 0.875, 1.0, 1.0, 0.9375, 0.9375, 0.6875, 0.5625)
_LARGEST_SUM = 0.8


def merge_emotion(speaker: Tensor, other: Tensor, alpha: float) -> Tensor:
    """Move from the speaker's own emotion vector (D,) towards another's by `alpha`."""
    return speaker + alpha * (other - speaker)


def scale_weights(weights: Sequence[float], alpha: float) -> list[float]:
    """Scale the weights by `alpha` in [0, 1], cut (not rounded) to four decimals.

    The product is formed from left to right in double precision, so 0.3 at 0.83 gives 0.2489.
    """
    scale = min(max(float(alpha), 0.0), 1.0)
    if scale == 1.0:
        return [float(weight) for weight in weights]
    return [int(weight * scale * 10000) / 10000 for weight in weights]


def normalize_emotion_vector(weights: Sequence[float], *, with_bias: bool = True) -> list[float]:
    """Damp the emotions that overdo it, then limit the sum to 0.8, as the web page does."""
    damped = [w * b for w, b in zip(weights, _BIAS, strict=True)] if with_bias else list(weights)
    total = sum(damped)
    return [w * (_LARGEST_SUM / total) for w in damped] if total > _LARGEST_SUM else damped


def choose_rows(style: Tensor, speaker_matrix: Tensor, group_sizes: Sequence[int]) -> list[int]:
    """In each emotion's group of rows find the one whose direction is nearest to `style` (S,).

    Returns:
        indices within the groups.
    """
    groups = torch.split(speaker_matrix, list(group_sizes))
    return [int(F.cosine_similarity(style[None], group, dim=1).argmax()) for group in groups]


def emotion_rows(emotion_matrix: Tensor, group_sizes: Sequence[int], indices: Sequence[int]) -> Tensor:
    """Pick the chosen row of every group: (8, D)."""
    groups = torch.split(emotion_matrix, list(group_sizes))
    return torch.stack([group[index] for group, index in zip(groups, indices, strict=True)])


def weighted_rows(rows: Tensor, weights: Sequence[float]) -> Tensor:
    """Sum of the rows (8, D) by weight: (D,)."""
    return (torch.tensor(weights, dtype=rows.dtype, device=rows.device)[:, None] * rows).sum(dim=0)


def mix_weights(rows: Tensor, weights: Sequence[float], merged: Tensor) -> Tensor:
    """Weighted rows (8, D), and the recording's vector (D,) for what the weights leave of 1."""
    total = torch.tensor(weights, dtype=rows.dtype, device=rows.device).sum()
    return weighted_rows(rows, weights) + (1 - total) * merged
