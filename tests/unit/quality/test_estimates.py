"""Means over speeches, and how far they may be off."""

from __future__ import annotations

import pytest

from bench.quality.estimates import mean, share


def test_a_share_is_of_all_words_together_and_not_a_mean_of_speeches() -> None:
    assert share([1, 0], [2, 8]).value == pytest.approx(0.1)


def test_speeches_that_agree_leave_no_doubt() -> None:
    found = mean([3.0] * 10)

    assert (found.value, found.low, found.high) == (3, 3, 3)


def test_the_interval_shrinks_with_more_speeches() -> None:
    few, many = mean([1.0, 2.0] * 4), mean([1.0, 2.0] * 100)

    assert few.low < many.low < 1.5 < many.high < few.high
