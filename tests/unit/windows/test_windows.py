"""Window borders: a function of the policy and the segment's codes, whatever the order of events."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.stage.policy import Policy
from services.common.stage.window_borders import window_borders
from services.s2mel_worker.model.windows import (
    Window,
    all_windows,
    code_of_frame,
    frames_of,
    next_window,
    window_before,
)

settings.register_profile("windows", deadline=None, max_examples=60)
settings.load_profile("windows")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    first = draw(st.integers(1, 60))
    return Policy(
        first_window_codes=first,
        window_growth=draw(st.sampled_from([1.0, 1.3, 1.5, 2.0, 3.7])),
        max_window_codes=first + draw(st.integers(0, 200)),
        look_ahead_codes=draw(st.integers(0, 40)),
        prefix_codes=draw(st.integers(0, 40)),
    )


FACTORS = st.one_of(st.just(1.0), st.floats(0.5, 2.0))


def arriving(policy: Policy, num_codes: int, steps: list[int]) -> list[Window]:
    """Windows in the order in which they become ready while codes come in runs of `steps`."""
    windows: list[Window] = []
    known, start = 0, 0
    while known < num_codes or not windows or not windows[-1].is_last:
        known = min(num_codes, known + (steps.pop() if steps else num_codes))
        while window := next_window(policy, start, known, is_ended=known == num_codes):
            windows.append(window)
            start = window.stop
    return windows


def resumed(policy: Policy, start: int, num_codes: int, factor: float) -> list[Window]:
    windows: list[Window] = []
    while window := next_window(policy, start, num_codes, is_ended=True, duration_factor=factor):
        windows.append(window)
        start = window.stop
    return windows


@given(policies(), st.integers(1, 900), FACTORS)
def test_windows_tile_the_segment(policy: Policy, num_codes: int, factor: float) -> None:
    windows = all_windows(policy, num_codes, factor)
    assert windows[0].start == 0
    assert windows[-1].stop == num_codes
    assert [a.stop for a in windows[:-1]] == [b.start for b in windows[1:]]
    frames = [t for window in windows for t in range(window.first_frame, window.first_frame + window.num_frames)]
    assert frames == list(range(frames_of(num_codes, factor)))
    assert [window.is_last for window in windows] == [False] * (len(windows) - 1) + [True]
    for window in windows:
        assert window.prefix_start == max(0, window.start - policy.prefix_codes)
        assert window.look_ahead_stop <= num_codes
        assert window.is_last or window.look_ahead_stop == window.stop + policy.look_ahead_codes


@given(policies(), st.integers(1, 400), st.lists(st.integers(1, 50), max_size=80))
def test_windows_do_not_depend_on_arrival(policy: Policy, num_codes: int, steps: list[int]) -> None:
    assert arriving(policy, num_codes, steps) == all_windows(policy, num_codes)


@given(policies(), st.integers(1, 400), st.integers(0, 400))
def test_a_window_once_given_is_the_same_at_the_end(policy: Policy, num_codes: int, known: int) -> None:
    known = min(known, num_codes)
    for window in all_windows(policy, num_codes):
        early = next_window(policy, window.start, known, is_ended=False)
        assert early in (None, window)


@given(policies(), st.integers(1, 400), st.floats(1.0, 2.0))
def test_borders_between_codes_do_not_depend_on_a_slower_rate(policy: Policy, num_codes: int, factor: float) -> None:
    stretched = all_windows(policy, num_codes, factor)
    assert [replace(window, duration_factor=1.0) for window in stretched] == all_windows(policy, num_codes)


@given(policies(), st.floats(0.5, 1.0))
def test_at_a_faster_rate_the_first_window_has_as_many_frames(policy: Policy, factor: float) -> None:
    first = next(window_borders(policy, factor))[1]
    assert first == policy.max_window_codes or first * factor >= policy.first_window_codes


@given(policies(), st.integers(1, 200), FACTORS)
def test_resuming_at_any_window_gives_the_same_tail(policy: Policy, num_codes: int, factor: float) -> None:
    windows = all_windows(policy, num_codes, factor)
    for n, window in enumerate(windows[-40:], start=max(0, len(windows) - 40)):
        assert resumed(policy, window.start, num_codes, factor) == windows[n:]


@given(policies(), st.integers(1, 400), FACTORS)
def test_the_window_before_is_found_from_the_policy_alone(policy: Policy, num_codes: int, factor: float) -> None:
    windows = all_windows(policy, num_codes, factor)
    for before, window in pairwise(windows[:40]):
        assert window_before(policy, window.start, factor) == before


@pytest.mark.parametrize("start", [0, 7])
def test_no_window_ends_where_none_begins(start: int) -> None:
    with pytest.raises(ValueError, match=f"no window ends at code {start}"):
        window_before(Policy(), start)


@given(policies(), st.integers(1, 400), FACTORS)
def test_a_render_covers_prefix_window_and_look_ahead(policy: Policy, num_codes: int, factor: float) -> None:
    for window in all_windows(policy, num_codes, factor):
        seen = window.prefix_frames + window.num_frames + window.look_ahead_frames
        assert seen == frames_of(window.look_ahead_stop, factor) - frames_of(window.prefix_start, factor)


def test_windows_grow_to_the_maximum() -> None:
    policy = Policy(first_window_codes=20, window_growth=2.0, max_window_codes=100, look_ahead_codes=10)
    sizes = [window.stop - window.start for window in all_windows(policy, 400)]
    assert sizes == [20, 40, 80, 100, 100, 60]


def test_a_window_waits_for_its_look_ahead() -> None:
    policy = Policy(first_window_codes=20, look_ahead_codes=10)
    assert next_window(policy, 0, 29, is_ended=False) is None
    window = next_window(policy, 0, 30, is_ended=False)
    assert window == Window(0, 20, 0, 30, is_last=False)


def test_a_short_rest_joins_the_window_before() -> None:
    policy = Policy(first_window_codes=20, look_ahead_codes=10)
    assert all_windows(policy, 29) == [Window(0, 29, 0, 29, is_last=True)]


def test_without_look_ahead_the_last_window_is_still_known_as_last() -> None:
    policy = Policy(first_window_codes=20, window_growth=1, look_ahead_codes=0, prefix_codes=0)
    assert all_windows(policy, 40) == [Window(0, 20, 0, 20, False), Window(20, 40, 20, 40, True)]


def test_an_empty_segment_has_no_window() -> None:
    assert next_window(Policy(), 0, 0, is_ended=True) is None


def test_a_start_between_borders_is_refused() -> None:
    with pytest.raises(ValueError, match="no window begins at code 7"):
        next_window(Policy(), 7, 100, is_ended=True)


def test_windows_without_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="must have codes"):
        next(window_borders(Policy(first_window_codes=0)))


def test_frames_are_counted_in_float32() -> None:
    assert [frames_of(n) for n in (0, 1, 25, 37, 250, 1500)] == [0, 1, 43, 63, 430, 2580]
    exact = [int(np.float32(n) * np.float32(1.72)) for n in range(1816)]
    assert [frames_of(n) for n in range(1816)] == exact
    assert exact == [43 * n // 25 for n in range(1816)]


@given(st.integers(0, 1815), st.floats(0.5, 2.0))
def test_the_factor_multiplies_the_frames(num_codes: int, factor: float) -> None:
    """In float32, product by product, so that every process counts alike."""
    exact = num_codes * 1.72 * factor
    assert abs(frames_of(num_codes, factor) - exact) <= 1 + 1e-3
    assert frames_of(num_codes, 1.0) == frames_of(num_codes)
    assert frames_of(num_codes, factor) <= frames_of(num_codes + 1, factor)


def test_at_factor_1_a_frame_reads_the_very_code_of_exact_arithmetic() -> None:
    frames = np.arange(20_000, dtype=np.int64)
    assert np.array_equal(code_of_frame(frames), frames * 25 // 43)


@given(st.floats(0.5, 2.0))
def test_frames_read_codes_in_order_at_any_rate(factor: float) -> None:
    codes = code_of_frame(np.arange(frames_of(1815, factor), dtype=np.int64), factor)
    assert codes[0] == 0
    # Squeezed, a frame may pass over a code; stretched, no code is left out.
    assert set(np.diff(codes)) <= ({0, 1} if 1.72 * factor >= 1 else {1, 2})
    assert 1812 <= codes[-1] <= 1814


def test_frames_read_codes_in_order_and_leave_none_out() -> None:
    codes = code_of_frame(np.arange(frames_of(1815), dtype=np.int64))
    assert codes[0] == 0
    assert set(np.diff(codes)) == {0, 1}
    # The last code owns less than a frame here, and so none reads it.
    assert codes[-1] == 1813
