"""What the parity command counts as reproduced."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bench.parity.pack import Array, Expectation
from bench.parity.report import compare, figures, misses, table

LOOSE = Expectation("gpt", "out.latent", (2,), tol_abs=0.1, tol_rel=0.1, exact=False)
EXACT = Expectation("gpt", "out.codes", (2,), tol_abs=0, tol_rel=0, exact=True)
REFERENCE = np.array([1.0, 10.0])


@pytest.mark.parametrize(
    ("expectation", "produced", "fault"),
    [
        (LOOSE, REFERENCE + 0.05, ""),
        (LOOSE, REFERENCE + np.array([0.0, 0.2]), "absolute error 0.2"),
        (LOOSE, REFERENCE * np.nan, "absolute error nan"),
        (LOOSE, REFERENCE[:1], r"shape \(1,\) instead of \(2,\)"),
        (LOOSE, None, "no producer"),
        (EXACT, REFERENCE, ""),
        (EXACT, REFERENCE + 1e-9, "not equal"),
    ],
)
def test_a_tensor_is_reproduced_or_its_fault_is_named(
    expectation: Expectation, produced: Array | None, fault: str
) -> None:
    found = compare(expectation, REFERENCE, produced).fault
    assert re.search(fault, found) if fault else not found


def test_relative_error_counts_where_the_absolute_one_is_loose() -> None:
    loose = Expectation("gpt", "x", (2,), tol_abs=100, tol_rel=0.001, exact=False)
    assert "relative error" in compare(loose, REFERENCE, REFERENCE * 1.01).fault


def test_misses_are_counted_in_table_and_figures() -> None:
    by_stage = {"gpt": [compare(EXACT, REFERENCE, None), compare(LOOSE, REFERENCE, REFERENCE)]}
    assert misses(by_stage["gpt"]) == ["gpt/out.codes: no producer"]
    assert figures(by_stage)["gpt.misses"] == {"value": 1, "unit": "tensors", "goal": "<= 0", "met": False}
    assert table(by_stage).splitlines()[1].split()[-1] == "1"
