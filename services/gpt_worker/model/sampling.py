"""Choosing the next code of one row: seeded by counter, so any worker can continue any stream."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.gpt_worker.model.logits import SamplingOptions, penalise_repetition, warp

CODES = 1
"""Purpose of the random numbers that choose codes."""

PREFIX_ID = 1
"""The published decode pretends that its whole prefix consists of this id, so it is penalised."""


def uniforms(seed: int, segment: int, purpose: int, index: int, count: int = 1) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on nothing but the arguments.

    Args:
        seed: uint64 of the request.
        segment: number of the segment, below 2**32.
        purpose: what the numbers are for, below 2**32.
        index: code index; the generator's counter.
        count: how many; more than four run into no other index.
    """
    key = np.array([seed, segment << 32 | purpose], dtype=np.uint64)
    # The index sits in the second counter word: the first counts the blocks of one index.
    counter = np.array([0, index, 0, 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter)).random(count)


def draw(scores: Tensor, uniform: float) -> int:
    """Sample an id from scores (V,) by inverting the distribution function in float64."""
    return invert(probabilities(scores), uniform)


def invert(weights: NDArray[np.float64], uniform: float) -> int:
    """Index at which the running sum of non-negative weights passes the share `uniform` of the total."""
    sums = weights.cumsum()
    reached = int(np.searchsorted(sums, uniform * sums[-1], side="right"))
    # Rounding may carry the share up to the total; the last index with any weight is meant then.
    return min(reached, int(np.flatnonzero(weights)[-1]))


def probabilities(scores: Tensor) -> NDArray[np.float64]:
    """Softmax in float64 on the CPU, the same from every device's scores."""
    values = scores.detach().to("cpu", torch.float64).numpy()
    exponentials: NDArray[np.float64] = np.exp(values - values.max())
    return np.asarray(exponentials / exponentials.sum(), dtype=np.float64)


class CodeChooser:
    """Chooses the codes of one segment, one after the other; holds which ids were seen."""

    def __init__(
        self, options: SamplingOptions, *, vocabulary: int, start_code: int, seed: int = 0, segment: int = 0
    ) -> None:
        self._options, self._seed, self._segment = options, seed, segment
        self._seen = torch.zeros(vocabulary, dtype=torch.bool)
        self._seen[[PREFIX_ID, start_code]] = True
        self.index = 0
        """How many codes were chosen or replayed."""

    def choose(self, logits: Tensor) -> int:
        """Choose the next code from raw logits (V,)."""
        scores = self.process(logits)
        if self._options.do_sample:
            code = draw(scores, float(uniforms(self._seed, self._segment, CODES, self.index)[0]))
        else:
            code = int(scores.argmax())
        self.replay([code])
        return code

    def process(self, logits: Tensor) -> Tensor:
        """Scores (V,) on the CPU as they are at the next choice."""
        scores = logits.detach().to("cpu", torch.float32)
        scores = penalise_repetition(scores, self._seen, self._options.repetition_penalty)
        return warp(scores, self._options) if self._options.do_sample else scores

    def replay(self, codes: Iterable[int]) -> None:
        """Take codes as chosen, as a resumed stream must."""
        for code in codes:
            self._seen[code] = True
            self.index += 1
