"""How much further a stream jumps at its seams than the whole render does there: the worst place decides.

The figure of a place is the quotient of two 95th percentiles over all seams, stream over whole render: 1 means that
the worst joins of the stream are as smooth there as speech is anyway. Percentiles and not means, because a seam in ten
that clicks is what a listener hears, and the 95th instead of the maximum, because the maximum of a thousand values is
decided by one of them.

The figure of a policy is the largest of its places' figures, of both kinds of jump. To count the places together would
dilute: with nine of them, one that clicks at every tenth seam is a ninetieth of all jumps, far above the percentile.
To take the largest step of each seam instead would flatter: the largest of nine steps of speech is large in the whole
render too, and the quotient nears 1 whatever is done. To look at the border alone would be fooled by a blend that
jumps at its end. What is still missed is a click at fewer than one seam in twenty of every place.

The largest of several estimates lies above the largest of what they estimate, so the figure errs against the stream,
the less the more seams there are. Its interval does not share the error: it is made of bounds that hold for all places
at once, with 95 % confidence, from the largest deviation of any place in units of that place's own spread, when whole
utterances are drawn with replacement (seams of one utterance are not independent). The largest true figure is then no
more than the largest upper bound and no less than the largest lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.quality.seams import Jumps

_PERCENTILE = 95
_CONFIDENCE = 0.95
_RESAMPLES = 500
_LEAST_JUMP = 1e-9


@dataclass(frozen=True)
class Ratio:
    """The largest quotient of all places with its 95 % interval; NaN where there is no seam."""

    value: float
    low: float
    high: float
    num_seams: int
    by_place: tuple[float, ...]
    """From the border on; of energy and then of spectrum where both are looked at."""

    @property
    def worst_place(self) -> int | None:
        """Index into `by_place`."""
        known = [index for index, value in enumerate(self.by_place) if not np.isnan(value)]
        return max(known, key=lambda index: self.by_place[index]) if known else None


Size = Callable[[Jumps], Jumps]
"""Jumps (S, P) to one number per place (P,)."""


def p95(jumps: Jumps) -> Jumps:
    """By nearest rank, which is quick: it is asked for hundreds of times."""
    ordered = np.sort(jumps, axis=0)  # with NaN at the end
    counts = np.count_nonzero(~np.isnan(jumps), axis=0)
    return np.asarray(ordered[-(-counts * _PERCENTILE // 100) - 1, np.arange(jumps.shape[1])])


def mean(jumps: Jumps) -> Jumps:
    """Says less about the worst joins than `p95`, but ranks policies with few seams."""
    known = ~np.isnan(jumps)
    return np.asarray(np.where(known, jumps, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan))


def worst_ratio(streamed: Sequence[Jumps], whole: Sequence[Jumps], size: Size) -> Ratio:
    """Compare the jumps of all utterances: an array of each, at the same places in both.

    Raises:
        ValueError: The places are not the same.
    """
    pairs = list(zip(streamed, whole, strict=True))
    if not all(np.array_equal(np.isnan(ours), np.isnan(theirs)) for ours, theirs in pairs):
        raise ValueError("the stream and the whole render must be measured at the same seams")
    counts = [len(jumps) for jumps in streamed]
    if not sum(counts):
        return Ratio(np.nan, np.nan, np.nan, 0, ())
    ours, theirs = np.concatenate(streamed), np.concatenate(whole)
    point = _quotients(size(ours), size(theirs))
    drawn = np.stack([_quotients(size(ours[rows]), size(theirs[rows])) for rows in _resamples(counts)])
    known = ~np.isnan(point)
    low, high = _bounds(point[known], drawn[:, known])
    return Ratio(float(point[known].max()), low, high, sum(counts), tuple(map(float, point)))


def _quotients(streamed: Jumps, whole: Jumps) -> Jumps:
    return np.asarray((streamed + _LEAST_JUMP) / (whole + _LEAST_JUMP))


def _resamples(counts: Sequence[int]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Rows of as many utterances as there are, drawn with replacement; those without a seam are nobody's evidence."""
    ends = np.cumsum(counts)
    rows = [np.arange(end - count, end) for count, end in zip(counts, ends, strict=True) if count]
    rng = np.random.default_rng(0)
    return [np.concatenate([rows[index] for index in rng.integers(0, len(rows), len(rows))]) for _ in range(_RESAMPLES)]


def _bounds(point: Jumps, drawn: Jumps) -> tuple[float, float]:
    """Bounds (low, high) of the largest of the ratios (P,) that were estimated, given resampled ones (R, P)."""
    off = np.nan_to_num(np.log(drawn) - np.log(point))
    spread = off.std(axis=0)
    scaled = np.divide(off, spread, out=np.zeros_like(off), where=spread > 0)
    tail = (1 + _CONFIDENCE) / 2
    too_high, too_low = (max(0.0, float(np.quantile(side.max(axis=1), tail))) for side in (scaled, -scaled))
    return float((point * np.exp(-too_high * spread)).max()), float((point * np.exp(too_low * spread)).max())
