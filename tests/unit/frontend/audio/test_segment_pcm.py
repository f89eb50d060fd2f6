"""A segment's end is soft, wherever it comes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.frontend.audio.fade import fade_samples, faded
from services.frontend.audio.pcm import Samples
from services.frontend.audio.segment_pcm import SegmentPcm

FADE = 8
LOUD = np.int16(30_000)


def loud(length: int) -> Samples:
    return np.full(length, LOUD)


def steepest(samples: Samples) -> float:
    """The largest step from one sample to the next, silence at the end included."""
    return float(np.abs(np.diff(np.append(samples, 0).astype(np.int32))).max())


def test_fade_lasts_5_ms() -> None:
    assert fade_samples(22_050) == 110
    assert fade_samples(48_000) == 240


@pytest.mark.parametrize("length", [1, 2, 8, 110])
def test_fade_falls_all_the_way_without_a_step(length: int) -> None:
    made = faded(loud(length))

    assert made[-1] == 0
    assert (np.diff(made.astype(np.int32)) <= 0).all()
    # A raised cosine is at most pi/2 times as steep as a straight line.
    assert steepest(made) <= np.pi / 2 * LOUD / length + 1


@given(lengths=st.lists(st.integers(0, 30), max_size=8), sizes=st.lists(st.integers(1, 20), min_size=1))
def test_end_is_faded_and_nothing_else_is_touched(lengths: list[int], sizes: list[int]) -> None:
    pcm, taken = SegmentPcm(FADE), list[Samples]()
    for at, length in enumerate(lengths):
        pcm.append(loud(length))
        taken.append(pcm.take(sizes[at % len(sizes)]))
    pcm.end()
    while len(pcm):
        taken.append(pcm.take(sizes[0]))
    made, total = np.concatenate([loud(0), *taken]), sum(lengths)

    assert len(made) == total
    np.testing.assert_array_equal(made[: max(total - FADE, 0)], loud(max(total - FADE, 0)))
    np.testing.assert_array_equal(made[max(total - FADE, 0) :], faded(loud(min(total, FADE))))


@given(length=st.integers(FADE + 1, 60), size=st.integers(1, 60))
def test_cut_goes_on_where_it_was_and_fades_at_once(length: int, size: int) -> None:
    pcm = SegmentPcm(FADE)
    pcm.append(loud(length))
    heard = pcm.take(size)
    pcm.cut()
    rest = pcm.take(1000)

    assert len(heard) == min(size, length - FADE)
    assert len(rest) == FADE
    np.testing.assert_array_equal(rest, faded(loud(FADE)))
    assert not len(pcm)


def test_last_samples_wait_until_it_is_known_what_they_are() -> None:
    pcm = SegmentPcm(FADE)
    pcm.append(loud(FADE))
    assert pcm.num_ready == 0
    pcm.append(loud(3))
    assert pcm.num_ready == 3
    pcm.end()
    assert pcm.num_ready == FADE + 3
