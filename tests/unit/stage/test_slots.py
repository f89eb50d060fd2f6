"""How many slots fit a memory limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.common.checkpoint import CheckpointError
from services.common.stage.slots import MEBIBYTE, slots_that_fit


def fit(wanted: int, *, limit: int, fixed: int, each: int) -> int:
    return slots_that_fit(wanted, stage="gpt", limit_bytes=limit, fixed_bytes=fixed, bytes_per_slot=each)


def test_without_a_limit_there_are_as_many_as_were_set() -> None:
    assert fit(7, limit=0, fixed=10**12, each=10**12) == 7


@given(st.integers(1, 256), st.integers(1, 10**10), st.integers(0, 10**9), st.integers(1, 10**9))
def test_all_slots_together_stay_below_the_limit_and_one_more_would_not(
    wanted: int, limit: int, fixed: int, each: int
) -> None:
    try:
        slots = fit(wanted, limit=limit, fixed=fixed, each=each)
    except CheckpointError:
        assert fixed + each > limit
        return
    assert 1 <= slots <= wanted
    assert fixed + slots * each <= limit
    assert slots == wanted or fixed + (slots + 1) * each > limit


def test_a_limit_below_one_slot_says_what_would_be_enough() -> None:
    """And what it says is enough."""
    with pytest.raises(CheckpointError, match="gpu_memory_mb is 100, but the gpt worker needs at least 131: 91 for"):
        fit(4, limit=100 * MEBIBYTE, fixed=90 * MEBIBYTE + 1, each=40 * MEBIBYTE)
    assert fit(4, limit=131 * MEBIBYTE, fixed=90 * MEBIBYTE + 1, each=40 * MEBIBYTE) == 1


def test_the_log_says_what_a_slot_takes() -> None:
    with capture_logs() as lines:
        fit(8, limit=100 * MEBIBYTE, fixed=30 * MEBIBYTE, each=20 * MEBIBYTE)

    assert lines[0] == {
        "event": "slots",
        "log_level": "info",
        "stage": "gpt",
        "slots": 3,
        "slots_wanted": 8,
        "fixed_mb": 30,
        "slot_mb": 20,
        "limit_mb": 100,
    }
