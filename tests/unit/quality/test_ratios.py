"""The worst place decides, and says how sure that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.quality.figures import MAX_SEAM_RATIO
from bench.quality.ratios import mean, p95, worst_ratio
from bench.quality.scores import Joins
from bench.quality.seams import Jumps, energy_jumps, places, spectral_jumps
from services.common.arrays import Array

NUM_PLACES = 9
FRAME, RATE_HZ, NUM_FRAMES = 256, 22050, 100
BORDERS = [20, 40, 60, 80]


def jumps(seed: int, num_speeches: int = 50, num_seams: int = 10, num_places: int = NUM_PLACES) -> list[Jumps]:
    rng = np.random.default_rng(seed)
    return [rng.gamma(2.0, 0.3, (num_seams, num_places)) for _ in range(num_speeches)]


def with_clicks(clean: list[Jumps], place: int, one_in: int, size: float) -> list[Jumps]:
    """Add to the jump at one place of one seam in so many."""
    first = [sum(map(len, clean[:index])) for index in range(len(clean))]
    made = [speech.copy() for speech in clean]
    for start, speech in zip(first, made, strict=True):
        speech[[(start + row) % one_in == 0 for row in range(len(speech))], place] += size
    return made


def test_equal_renders_have_the_ratio_one_and_no_doubt() -> None:
    same = jumps(0)
    ratio = worst_ratio(same, same, p95)

    assert (ratio.value, ratio.low, ratio.high, ratio.num_seams) == (1, 1, 1, 500)
    assert ratio.by_place == (1,) * NUM_PLACES


@settings(deadline=None, max_examples=10)
@given(st.integers(0, NUM_PLACES - 1), st.floats(2, 10), st.integers(0, 1000))
def test_a_click_at_every_tenth_seam_shows_wherever_in_the_blend_it_is(place: int, size: float, seed: int) -> None:
    whole = jumps(seed)
    ratio = worst_ratio(with_clicks(whole, place, one_in=10, size=size), whole, p95)

    assert ratio.value > MAX_SEAM_RATIO + 0.1
    assert ratio.low > MAX_SEAM_RATIO
    assert ratio.worst_place == place
    assert [value for index, value in enumerate(ratio.by_place) if index != place] == [1] * (NUM_PLACES - 1)


def test_all_places_counted_together_would_hardly_have_shown_it() -> None:
    """Why they are not: a ninetieth of the jumps is far above the percentile."""
    whole = jumps(0)
    streamed = with_clicks(whole, 3, one_in=10, size=3.0)
    ours, theirs = ([speech.reshape(-1, 1) for speech in side] for side in (streamed, whole))

    assert worst_ratio(ours, theirs, p95).value < MAX_SEAM_RATIO
    assert worst_ratio(streamed, whole, p95).value > 1.5


def test_one_seam_in_a_hundred_does_not_decide() -> None:
    whole = jumps(0)

    assert worst_ratio(with_clicks(whole, 3, one_in=100, size=50.0), whole, p95).value < MAX_SEAM_RATIO


def test_either_kind_of_jump_alone_is_a_fault() -> None:
    """A mean of the two would let the good one hide the other."""
    clean = jumps(0)
    for faulty in ("energy", "spectrum"):
        joins = Joins()
        for ours, theirs in zip(with_clicks(clean, 2, one_in=10, size=3.0), clean, strict=True):
            joins.energy.add(ours if faulty == "energy" else theirs, theirs)
            joins.spectrum.add(ours if faulty == "spectrum" else theirs, theirs)

        assert joins.ratio().value == getattr(joins, faulty).ratio().value > 1.5
        assert joins.ratio().worst_place == (2 if faulty == "energy" else NUM_PLACES + 2)


def speech_like(seed: int) -> Array:
    """Noise whose loudness and colour wander."""
    rng = np.random.default_rng(seed)
    loudness = np.exp(np.cumsum(rng.normal(0, 0.3, NUM_FRAMES)).clip(-1, 1))
    samples: Array = 0.05 * rng.standard_normal(NUM_FRAMES * FRAME) * np.repeat(loudness, FRAME)
    return samples.astype(np.float32)


def sound_jumps(samples: Array) -> Jumps:
    return energy_jumps(samples, places(BORDERS, 8, NUM_FRAMES), frame_samples=FRAME, rate_hz=RATE_HZ)


@pytest.mark.parametrize("late", [0, 1, 4, 8])
def test_an_audible_click_in_the_samples_of_every_tenth_seam_misses_the_goal(late: int) -> None:
    """Two milliseconds of a loud pulse, so many frames after the border."""
    whole = [speech_like(seed) for seed in range(60)]
    streamed = [samples.copy() for samples in whole]
    for number in range(0, len(whole) * len(BORDERS), 10):
        speech, border = divmod(number, len(BORDERS))
        start = (BORDERS[border] + late) * FRAME
        streamed[speech][start : start + 44] = 0.9
    theirs = [sound_jumps(samples) for samples in whole]
    clicking = worst_ratio([sound_jumps(samples) for samples in streamed], theirs, p95)
    clean = worst_ratio(theirs, [sound_jumps(samples) for samples in whole], p95)

    assert clicking.value > MAX_SEAM_RATIO + 0.1
    assert clicking.worst_place in (late, late + 1)
    assert clean.value == 1


@pytest.mark.parametrize("late", range(5))
def test_a_blend_that_jumps_anywhere_is_found_out(late: int) -> None:
    """Each of four blended frames, or the border itself, may hold all of the jump."""
    whole = 0.01 * np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    streamed = whole.copy()
    streamed[20 + late :] += 1
    ours, theirs = ([spectral_jumps(mel, places([20], 4, 40))] for mel in (streamed, whole))
    ratio = worst_ratio(ours, theirs, p95)

    assert ratio.value > 10
    assert ratio.worst_place == late


@settings(deadline=None, max_examples=10)
@given(st.floats(0.2, 5), st.integers(1, 4), st.integers(0, 1000))
def test_the_ratio_scales_with_the_jumps_and_lies_in_its_interval(factor: float, places: int, seed: int) -> None:
    whole = jumps(seed, 12, 4, places)
    ratio = worst_ratio([factor * speech for speech in whole], whole, p95)

    assert ratio.value == pytest.approx(factor)
    assert ratio.low - 1e-9 <= ratio.value <= ratio.high + 1e-9


def test_the_interval_holds_one_although_the_largest_of_many_equal_places_is_above_it() -> None:
    """Streams that jump as the whole render does, with other noise: one in twenty may be missed, and more are not."""
    found = [worst_ratio(jumps(2 * seed, 30, 5), jumps(2 * seed + 1, 30, 5), p95) for seed in range(12)]

    assert np.mean([ratio.value for ratio in found]) > MAX_SEAM_RATIO
    assert sum(ratio.low <= 1 <= ratio.high for ratio in found) >= len(found) - 1


def test_more_seams_leave_less_doubt_and_a_smaller_largest_place() -> None:
    few, many = (worst_ratio(jumps(0, count), jumps(1, count), p95) for count in (10, 160))

    assert many.high - many.low < (few.high - few.low) / 2
    assert many.value < few.value


def test_speeches_that_differ_make_a_wider_interval_than_seams_that_do() -> None:
    """Whole utterances are drawn: what they have in common is not independent evidence."""
    rng = np.random.default_rng(3)
    loud = rng.uniform(0.2, 3, 40)
    whole = [np.ones((10, 1)) for _ in loud]
    by_speech = [np.full((10, 1), value) for value in loud]
    mixed = list(rng.permutation(np.concatenate(by_speech)).reshape(40, 10, 1))

    def width(streamed: list[Jumps]) -> float:
        ratio = worst_ratio(streamed, whole, mean)
        return ratio.high - ratio.low

    assert width(by_speech) > 2 * width(mixed)


def test_the_same_renders_give_the_same_interval() -> None:
    assert worst_ratio(jumps(0, 9), jumps(1, 9), p95) == worst_ratio(jumps(0, 9), jumps(1, 9), p95)


def test_places_that_the_sound_ends_before_are_left_out_of_their_column_alone() -> None:
    whole = jumps(0, 5, 20, 2)
    streamed = [2 * speech for speech in whole]
    for side in (whole, streamed):
        for speech in side:
            speech[-1, 1] = np.nan

    assert worst_ratio(streamed, whole, p95).by_place == pytest.approx((2, 2))
    assert worst_ratio(streamed, whole, mean).by_place == pytest.approx((2, 2))


def test_a_place_that_no_sound_reaches_decides_nothing() -> None:
    unknown = [np.array([[1.0, np.nan]]), np.array([[3.0, np.nan]])]
    ratio = worst_ratio([2 * speech for speech in unknown], unknown, p95)

    assert ratio.value == pytest.approx(2)
    assert ratio.worst_place == 0


def test_without_seams_there_is_no_ratio() -> None:
    ratio = worst_ratio([np.zeros((0, 9))], [np.zeros((0, 9))], p95)

    assert (ratio.num_seams, ratio.worst_place) == (0, None)
    assert np.isnan(ratio.value)


@pytest.mark.parametrize("other", [np.ones((2, 1)), np.array([[1.0], [1.0], [np.nan]])])
def test_other_seams_than_those_of_the_whole_render_are_refused(other: Jumps) -> None:
    with pytest.raises(ValueError, match="same seams"):
        worst_ratio([np.ones((3, 1))], [other], p95)
