"""Runs of one length, whatever comes in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.frontend.audio.cutting import Cutter
from services.frontend.audio.pcm import Floats

Lengths = st.lists(st.integers(0, 50), max_size=12)


def numbered(lengths: list[int]) -> list[Floats]:
    whole = np.arange(sum(lengths), dtype=np.float32)
    return np.split(whole, np.cumsum(lengths)[:-1]) if lengths else []


@given(lengths=Lengths, run=st.integers(1, 20))
def test_every_run_has_the_length_and_the_rest_has_less(lengths: list[int], run: int) -> None:
    cutter = Cutter(run, max_samples=1000)
    taken = 0
    runs = []
    for part in numbered(lengths):
        runs += list(cutter.push(part))
        taken += len(part)
        # What waits is always less than a run.
        assert taken - run * len(runs) < run
    rest = cutter.finish()

    assert all(len(each) == run for each in runs)
    assert len(rest) < run
    assert np.concatenate([*runs, rest]).tolist() == list(range(sum(lengths)))
    assert len(cutter.finish()) == 0


@given(lengths=Lengths)
def test_without_a_length_runs_leave_as_they_come_but_not_too_long(lengths: list[int]) -> None:
    cutter = Cutter(0, max_samples=16)
    for part in numbered(lengths):
        runs = list(cutter.push(part))

        assert all(0 < len(run) <= 16 for run in runs)
        assert np.concatenate([part[:0], *runs]).tolist() == part.tolist()
    assert len(cutter.finish()) == 0
