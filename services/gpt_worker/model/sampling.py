"""Choosing the next code of one row: seeded by counter, so any worker can continue any stream.

The rules are those of `logits`, on one row of numpy: a few thousand scores cost less there than the calls of a
tensor library. Letters: V code vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from services.gpt_worker.model.logits import REMOVED, SamplingOptions

CODES = 1
"""Purpose of the random numbers that choose codes."""

PREFIX_ID = 1
"""The published decode pretends that its whole prefix consists of this id, so it is penalised."""

Scores = NDArray[np.float32]
Weights = NDArray[np.float64]


class UniformStream:
    """Numbers in [0, 1) that depend on nothing but the arguments and the index that is asked for.

    Args:
        seed: uint64 of the request.
        segment: number of the segment, below 2**32.
        purpose: what the numbers are for, below 2**32.
    """

    def __init__(self, seed: int, segment: int, purpose: int) -> None:
        key = np.array([seed, segment << 32 | purpose], dtype=np.uint64)
        self._philox = np.random.Philox(key=key, counter=np.zeros(4, np.uint64))
        self._generator = np.random.Generator(self._philox)
        # Setting the state of one generator costs a seventh of making another.
        self._state = self._philox.state

    def at(self, index: int, count: int = 1) -> Weights:
        """`count` numbers of one index; more than four run into no other index."""
        # The index sits in the second counter word: the first counts the blocks of one index.
        self._state["state"]["counter"][:] = (0, index, 0, 0)
        self._philox.state = self._state
        return self._generator.random(count)


def draw(scores: Scores, uniform: float) -> int:
    """Sample an id from scores (V,) by inverting the distribution function in float64."""
    return invert(probabilities(scores), uniform)


def invert(weights: Weights, uniform: float) -> int:
    """Index at which the running sum of non-negative weights passes the share `uniform` of the total."""
    sums = weights.cumsum()
    reached = int(np.searchsorted(sums, uniform * sums[-1], side="right"))
    # Rounding may carry the share up to the total; the last index with any weight is meant then.
    return reached if reached < len(weights) else int(np.flatnonzero(weights)[-1])


def probabilities(scores: Scores) -> Weights:
    """Softmax in float64."""
    values = scores.astype(np.float64)
    kept = np.flatnonzero(values > REMOVED)
    exponentials = np.zeros(len(values))
    exponentials[kept] = np.exp(values[kept] - values.max())
    return np.asarray(exponentials / exponentials.sum(), dtype=np.float64)


def warp_row(scores: Scores, options: SamplingOptions) -> Scores:
    """What `logits.warp` makes of one row of scores (V,), bit for bit."""
    scaled = scores if options.temperature == 1.0 else scores / np.float32(options.temperature)
    kept = _top_k(scaled, options.top_k)
    if options.top_p < 1.0:
        kept = _top_p(scaled, kept, options.top_p)
    warped = np.full_like(scaled, REMOVED)
    warped[kept] = scaled[kept]
    return warped


def _top_k(scores: Scores, count: int) -> NDArray[np.intp]:
    """Ids, ascending, whose scores are at least the count-th largest."""
    if count == 0 or count >= len(scores):
        return np.arange(len(scores))
    place = len(scores) - count
    return np.flatnonzero(scores >= np.partition(scores, place)[place])


def _top_p(scores: Scores, kept: NDArray[np.intp], mass: float) -> NDArray[np.intp]:
    """Those of the kept ids that are left when the least likely, together at most 1 - mass, are taken away."""
    order = kept[np.argsort(scores[kept], kind="stable")]
    # The published sum runs over the whole row, in torch's float32; a border is met exactly only in the same steps.
    ascending = torch.full((len(scores),), REMOVED)
    ascending[len(scores) - len(order) :] = torch.from_numpy(scores[order])
    likelihoods = ascending.softmax(dim=0).numpy()[len(scores) - len(order) :]
    sums = likelihoods.cumsum(dtype=np.float64).astype(np.float32)
    is_left = sums > np.float32(1 - mass)
    is_left[-1] = True
    return order[is_left]


class CodeChooser:
    """Chooses the codes of one segment, one after the other; holds which ids were seen.

    Args:
        options: How codes are chosen.
        vocabulary: Number of ids V.
        start_code: Id that the published decode begins with, and so penalises.
        seed: uint64 of the request.
        segment: Number of the segment.
        silent: Ids that have scores but are never chosen.
    """

    def __init__(
        self,
        options: SamplingOptions,
        *,
        vocabulary: int,
        start_code: int,
        seed: int = 0,
        segment: int = 0,
        silent: Sequence[int] = (),
    ) -> None:
        self._options = options
        self._uniforms = UniformStream(seed, segment, CODES)
        self._silent = list(silent)
        self._seen = np.zeros(vocabulary, dtype=np.bool_)
        self._seen[[PREFIX_ID, start_code]] = True
        self.index = 0
        """How many codes were chosen or replayed."""

    def choose(self, logits: Scores) -> int:
        """Choose the next code from raw logits (V,)."""
        scores = self.process(logits)
        if self._options.do_sample:
            code = draw(scores, float(self._uniforms.at(self.index)[0]))
        else:
            code = int(scores.argmax())
        self.replay([code])
        return code

    def process(self, logits: Scores) -> Scores:
        """Scores (V,) as they are at the next choice."""
        scores = logits.copy()
        scores[self._silent] = REMOVED
        penalty = np.float32(self._options.repetition_penalty)
        if penalty != 1.0:
            seen = scores[self._seen]
            scores[self._seen] = np.where(seen < 0, seen * penalty, seen / penalty)
        return warp_row(scores, self._options) if self._options.do_sample else scores

    def replay(self, codes: Iterable[int]) -> None:
        """Take codes as chosen, as a resumed stream must."""
        for code in codes:
            self._seen[code] = True
            self.index += 1
