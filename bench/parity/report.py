"""Compares produced with stored tensors and reports the differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.parity.pack import Array, Expectation


@dataclass(frozen=True)
class Comparison:
    expectation: Expectation
    abs_error: float
    rel_error: float
    fault: str = ""
    """Why the tensor misses; empty if it is reproduced."""

    @property
    def share(self) -> float:
        """Largest share of a tolerance that is used up; 0 for an exact tensor that is equal."""
        limits = ((self.abs_error, self.expectation.tol_abs), (self.rel_error, self.expectation.tol_rel))
        return max((error / limit for error, limit in limits if limit > 0), default=0.0)


def compare(expectation: Expectation, reference: Array, produced: Array | None) -> Comparison:
    """Hold one produced tensor against its reference."""
    if produced is None:
        return Comparison(expectation, np.inf, np.inf, "no producer")
    if produced.shape != reference.shape:
        fault = f"shape {produced.shape} instead of {reference.shape}"
        return Comparison(expectation, np.inf, np.inf, fault)
    difference = produced.astype(np.float64) - reference.astype(np.float64)
    norm = float(np.linalg.norm(reference.astype(np.float64))) or 1.0
    abs_error = float(np.abs(difference).max(initial=0.0))
    rel_error = float(np.linalg.norm(difference)) / norm
    return Comparison(expectation, abs_error, rel_error, _fault(expectation, abs_error, rel_error))


def _fault(expectation: Expectation, abs_error: float, rel_error: float) -> str:
    # Written so that NaN, which no comparison holds for, is a fault.
    if expectation.exact:
        return "" if abs_error == 0 else f"not equal: largest difference {abs_error:g}"
    if not abs_error <= expectation.tol_abs:
        return f"absolute error {abs_error:.3g} above {expectation.tol_abs:.3g}"
    if not rel_error <= expectation.tol_rel:
        return f"relative error {rel_error:.3g} above {expectation.tol_rel:.3g}"
    return ""


def misses(comparisons: Sequence[Comparison]) -> list[str]:
    """One line per tensor that is not reproduced."""
    return [f"{c.expectation.stage}/{c.expectation.name}: {c.fault}" for c in comparisons if c.fault]


def table(by_stage: Mapping[str, Sequence[Comparison]]) -> str:
    """Rows of stage, tensors, worst errors, worst share of a tolerance, misses."""
    lines = [f"{'stage':10} {'tensors':>7} {'worst abs':>10} {'worst rel':>10} {'of tol':>7} {'misses':>6}"]
    for stage, comparisons in by_stage.items():
        errors = [(c.abs_error, c.rel_error, c.share) for c in comparisons]
        worst = [max(kind) for kind in zip((0.0, 0.0, 0.0), *errors, strict=True)]
        lines.append(
            f"{stage:10} {len(comparisons):7} {worst[0]:10.2e} {worst[1]:10.2e} {worst[2]:7.1%} "
            f"{len(misses(comparisons)):6}"
        )
    return "\n".join(lines)


def figures(by_stage: Mapping[str, Sequence[Comparison]]) -> dict[str, dict[str, object]]:
    """Figures for a report file: per stage the misses and the worst share of a tolerance."""
    found: dict[str, dict[str, object]] = {}
    for stage, comparisons in by_stage.items():
        count = len(misses(comparisons))
        share = round(max((c.share for c in comparisons), default=0.0), 6)
        found[f"{stage}.tensors"] = {"value": len(comparisons), "unit": "tensors"}
        found[f"{stage}.misses"] = {"value": count, "unit": "tensors", "goal": "<= 0", "met": count == 0}
        if np.isfinite(share):
            found[f"{stage}.worst_share"] = {"value": share, "unit": "of tolerance"}
    return found
