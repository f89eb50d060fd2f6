"""Beam search with the published rules (§6.6); `compat` only, because beams cannot be streamed.

Letters: K beams, V code vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.gpt_worker.model.kv_cache import KeyValueCache
from services.gpt_worker.model.logits import SamplingOptions, penalise_repetition, warp
from services.gpt_worker.model.sampling import PREFIX_ID, UniformStream, invert, probabilities
from services.gpt_worker.model.unified_voice import UnifiedVoice, code_position

BEAMS = 2
"""Purpose of the random numbers that choose beam candidates."""

_DEAD_BEAM = -1e9
_MIN_KEEP = 2

Scorer = Callable[[Sequence[Sequence[int]], Sequence[int]], Tensor]
"""Takes the live sequences and the beam each continues; gives raw logits (K, V)."""


@dataclass
class _Finished:
    """The best closed hypotheses, at most `capacity`."""

    capacity: int
    length_penalty: float
    entries: list[tuple[float, list[int]]] = field(default_factory=list)

    def add(self, codes: list[int], total: float, length: int) -> None:
        self.entries.append((self.score(total, length), codes))
        self.entries.sort(key=lambda entry: entry[0], reverse=True)
        del self.entries[self.capacity :]

    def score(self, total: float, length: int) -> float:
        return total / float(length**self.length_penalty)

    def is_settled(self, best_live: float, length: int) -> bool:
        """No live beam can do better than the worst kept hypothesis."""
        is_full = len(self.entries) == self.capacity
        return is_full and self.entries[-1][0] >= self.score(best_live, length)


def search(
    scorer: Scorer,
    options: SamplingOptions,
    *,
    start_code: int,
    stop_code: int,
    seed: int = 0,
    segment: int = 0,
) -> list[int]:
    """Find the best sequence of codes; it ends with the stop code if that fits."""
    beams = options.num_beams
    finished = _Finished(beams, options.length_penalty)
    live: list[list[int]] = [[] for _ in range(beams)]
    origins, totals = list(range(beams)), torch.tensor([0.0] + [_DEAD_BEAM] * (beams - 1))
    for length in range(1, options.max_codes + 1):
        scores = _beam_scores(scorer(live, origins), live, options, start_code) + totals[:, None]
        candidates = _candidates(scores, options, seed, segment, length - 1)
        chosen: list[tuple[float, int, int]] = []
        for rank, (total, beam, code) in enumerate(candidates):
            if code != stop_code:
                chosen.append((total, beam, code))
            elif rank < beams:
                finished.add(live[beam], total, length)
        chosen = chosen[:beams]
        live = [[*live[beam], code] for _, beam, code in chosen]
        origins, totals = [beam for _, beam, _ in chosen], torch.tensor([total for total, _, _ in chosen])
        if finished.is_settled(chosen[0][0], length):
            break
    else:
        for codes, total in zip(live, totals.tolist(), strict=True):
            finished.add(codes, total, options.max_codes)
    best = finished.entries[0][1]
    return [*best, stop_code] if len(best) < options.max_codes else best


def _beam_scores(logits: Tensor, live: Sequence[Sequence[int]], options: SamplingOptions, start_code: int) -> Tensor:
    scores = logits.detach().to("cpu", torch.float32).log_softmax(dim=-1)
    seen = torch.zeros_like(scores, dtype=torch.bool)
    seen[:, [PREFIX_ID, start_code]] = True
    for row, codes in enumerate(live):
        seen[row, list(codes)] = True
    scores = penalise_repetition(scores, seen, options.repetition_penalty)
    return warp(scores, options, _MIN_KEEP) if options.do_sample else scores


def _candidates(
    scores: Tensor, options: SamplingOptions, seed: int, segment: int, index: int
) -> list[tuple[float, int, int]]:
    """The 2K continuations of this step, best first, as (total score, beam, code)."""
    flat, count = scores.flatten(), 2 * options.num_beams
    if options.do_sample:
        drawn = _draw_distinct(flat, UniformStream(seed, segment, BEAMS).at(index, count))
        drawn = drawn[flat[drawn].argsort(descending=True, stable=True)]
    else:
        drawn = flat.topk(count).indices
    width = scores.shape[1]
    return [(float(flat[i]), i // width, i % width) for i in drawn.tolist()]


def _draw_distinct(scores: Tensor, uniform: NDArray[np.float64]) -> Tensor:
    """Draw ids without replacement, one per number; when none is left, the best remaining."""
    weights = probabilities(scores.numpy())
    drawn: list[int] = []
    for number in uniform:
        if weights.any():
            index = invert(weights, number)
        else:
            index = next(i for i in scores.argsort(descending=True).tolist() if i not in drawn)
        drawn.append(index)
        weights[index] = 0.0
    return torch.tensor(drawn)


def beam_search(
    model: UnifiedVoice,
    prefix: Tensor,
    options: SamplingOptions,
    *,
    cache: KeyValueCache | None = None,
    seed: int = 0,
    segment: int = 0,
) -> list[int]:
    """Decode a prefix (1, P, D) with beams at the published positions, in rows 0 .. K - 1."""
    cache = cache or model.gpt.new_cache(options.num_beams, prefix.shape[1] + options.max_codes)

    def score(live: Sequence[Sequence[int]], origins: Sequence[int]) -> Tensor:
        if not live[0]:
            first = model.prefill(prefix, cache, row=0)
            cache.reorder([0] * options.num_beams)
            return first.logits.expand(len(live), -1)
        cache.reorder(list(origins))
        position = code_position(len(live[0]), "compat")
        steps = [model.decode_step(codes[-1], position, cache, row) for row, codes in enumerate(live)]
        return torch.stack([step.logits for step in steps])

    sizes = model.dimensions
    return search(score, options, start_code=sizes.start_code, stop_code=sizes.stop_code, seed=seed, segment=segment)
