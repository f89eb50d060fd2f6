"""Logits processors with the published semantics (§6.6).

Scores are (..., V) float32; removed entries become -inf. Order: penalty, temperature, top-k, top-p.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

REMOVED = float("-inf")


@dataclass(frozen=True)
class SamplingOptions:
    """How codes are chosen; defaults are those of mode `fast`."""

    temperature: float = 0.8
    top_k: int = 30
    """0 switches the rule off."""
    top_p: float = 0.8
    repetition_penalty: float = 10.0
    do_sample: bool = True
    num_beams: int = 1
    length_penalty: float = 0.0
    max_codes: int = 1500


def penalise_repetition(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Weaken each id that was seen, once, however often it occurred.

    Args:
        scores: (..., V).
        seen: (..., V) bool.
        penalty: divides positive and multiplies negative scores.
    """
    if penalty == 1.0:
        return scores
    return torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def keep_top_k(scores: Tensor, count: int, min_keep: int = 1) -> Tensor:
    """Remove scores below the count-th largest; ties with it stay."""
    if count == 0:
        return scores
    kept = min(max(count, min_keep), scores.shape[-1])
    return scores.masked_fill(scores < scores.topk(kept).values[..., -1:], REMOVED)


def keep_top_p(scores: Tensor, mass: float, min_keep: int = 1) -> Tensor:
    """Remove the least likely ids whose probabilities together are at most 1 - mass."""
    if mass >= 1.0:
        return scores
    ascending, order = scores.sort(dim=-1, stable=True)
    is_removed = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - mass
    is_removed[..., -min_keep:] = False
    return scores.masked_fill(is_removed.scatter(-1, order, is_removed), REMOVED)


def warp(scores: Tensor, options: SamplingOptions, min_keep: int = 1) -> Tensor:
    """Temperature, top-k and top-p; `min_keep` ids always survive (2 for beams)."""
    scaled = scores if options.temperature == 1.0 else scores / options.temperature
    return keep_top_p(keep_top_k(scaled, options.top_k, min_keep), options.top_p, min_keep)
