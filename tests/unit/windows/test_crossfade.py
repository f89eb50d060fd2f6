"""The blend of two windows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.s2mel_worker.model.crossfade import Mel, crossfade


def mel(num_frames: int, value: float) -> Mel:
    return np.full((num_frames, 4), value, np.float32)


def test_it_goes_from_the_window_before_to_the_new_one_in_equal_steps() -> None:
    assert np.allclose(crossfade(mel(5, 8.0), mel(3, 0.0), 3)[:, 0], [2, 4, 6, 8, 8])


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_only_frames_that_both_have_are_blended(new: int, before: int, asked: int) -> None:
    blended = crossfade(mel(new, 1.0), mel(before, 0.0), asked)
    assert blended.shape == (new, 4)
    assert int((blended[:, 0] < 1).sum()) == min(new, before, asked)


def test_windows_that_agree_stay_as_they_are() -> None:
    assert np.array_equal(crossfade(mel(5, 3.0), mel(5, 3.0), 4), mel(5, 3.0))


def test_none_leaves_the_new_frames_untouched() -> None:
    new = mel(5, 1.0)
    assert crossfade(new, mel(5, 0.0), 0) is new
