"""Means over speeches with the doubt that comes of there being only so many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def share(parts: Sequence[float], wholes: Sequence[float]) -> Estimate:
    """All parts over all wholes, such as wrong words over words, when speeches are drawn with replacement."""
    top, bottom = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    drawn = np.random.default_rng(0).integers(0, len(top), (_RESAMPLES, len(top)))
    low, high = np.percentile(top[drawn].sum(axis=1) / bottom[drawn].sum(axis=1), _INTERVAL)
    return Estimate(float(top.sum() / bottom.sum()), float(low), float(high))


def mean(values: Sequence[float]) -> Estimate:
    return share(values, [1.0] * len(values))
