"""The seam metric: jumps at the seams alone, beside the same places of the whole render."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.quality.seams import energy_jumps, places, ratio_of_means, ratio_p95, spectral_jumps
from services.common.arrays import Array

FRAME = 256
RATE_HZ = 22050
SEAMS = [10, 20, 30]


def noise(seed: int = 0, frames: int = 40) -> Array:
    return (0.1 * np.random.default_rng(seed).standard_normal(frames * FRAME)).astype(np.float32)


def loudness(samples: Array, seams: list[int]) -> Array:
    return energy_jumps(samples, places(seams, 0, 40), frame_samples=FRAME, rate_hz=RATE_HZ)


def test_a_step_in_loudness_at_a_seam_is_its_logarithm() -> None:
    samples = np.full(40 * FRAME, 0.1, np.float32)
    samples[20 * FRAME :] *= 2

    assert loudness(samples, SEAMS) == pytest.approx([0, np.log(2), 0], abs=1e-3)


def test_a_step_between_seams_does_not_count() -> None:
    samples = noise()
    louder = samples.copy()
    louder[15 * FRAME : 16 * FRAME] *= 5

    assert loudness(louder, SEAMS) == pytest.approx(loudness(samples, SEAMS), rel=1e-6)


def test_silence_against_silence_is_no_jump() -> None:
    samples = np.zeros(40 * FRAME, np.float32)
    samples[20 * FRAME :] = 1e-5

    assert loudness(samples, [20])[0] < 1e-3


def test_a_seam_at_either_end_of_the_sound_is_measured_on_what_is_there() -> None:
    assert np.isfinite(loudness(noise(), [0, 39])).all()


def test_a_step_in_the_spectrum_is_its_mean_over_the_bins() -> None:
    mel = np.zeros((40, 4), np.float32)
    mel[20:, 0] = 2

    assert spectral_jumps(mel, places(SEAMS, 0, 40)).tolist() == [0, 0.5, 0]


def test_every_step_of_a_blend_is_a_place_of_its_own() -> None:
    assert places([10, 20], 2, 40).tolist() == [10, 11, 12, 20, 21, 22]
    assert places([10, 39], 2, 40).tolist() == [10, 11, 12, 39]
    assert places([], 2, 40).tolist() == []


@pytest.mark.parametrize("late", range(5))
def test_a_blend_that_jumps_anywhere_is_found_out(late: int) -> None:
    """Each of four blended frames, or the border itself, may hold all of the jump."""
    whole = 0.01 * np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    streamed = whole.copy()
    streamed[20 + late :] += 1
    pair = [[spectral_jumps(mel, places([20], 4, 40))] for mel in (streamed, whole)]

    assert ratio_p95(*pair).value > 10


def test_a_linear_blend_shares_the_jump_among_its_steps() -> None:
    mel = np.repeat(np.clip(np.arange(40) - 19, 0, 5)[:, None] / 5, 4, axis=1)

    assert spectral_jumps(mel, places([20], 4, 40)) == pytest.approx([0.2] * 5)


def test_equal_renders_have_the_ratio_one_and_no_doubt() -> None:
    jumps = [np.abs(np.random.default_rng(seed).standard_normal(5)) for seed in range(30)]
    ratio = ratio_p95(jumps, jumps)

    assert (ratio.value, ratio.low, ratio.high, ratio.num_places) == (1, 1, 1, 150)


def test_a_clicking_seam_in_ten_shows_in_the_percentile() -> None:
    rng = np.random.default_rng(1)
    whole = [rng.uniform(0.5, 1, 10) for _ in range(50)]
    streamed = [jumps.copy() for jumps in whole]
    for jumps in streamed:
        jumps[0] = 3

    assert ratio_p95(streamed, whole).value > 2.5
    assert 1 < ratio_of_means(streamed, whole).value < 2


def test_one_seam_in_a_hundred_does_not_decide() -> None:
    whole = [np.linspace(0.5, 1, 100) for _ in range(10)]
    streamed = [jumps.copy() for jumps in whole]
    for jumps in streamed:
        jumps[0] = 50

    assert ratio_p95(streamed, whole).value < 1.1


@settings(deadline=None, max_examples=10)
@given(st.floats(0.2, 5), st.integers(2, 8), st.integers(0, 1000))
def test_the_ratio_scales_with_the_jumps_and_lies_in_its_interval(factor: float, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = [rng.uniform(0.1, 1, count) for _ in range(12)]
    ratio = ratio_p95([factor * jumps for jumps in whole], whole)

    assert ratio.value == pytest.approx(factor)
    assert ratio.low - 1e-9 <= ratio.value <= ratio.high + 1e-9


def test_speeches_that_differ_make_a_wider_interval_than_seams_that_do() -> None:
    """Whole utterances are drawn: what they have in common is not independent evidence."""
    rng = np.random.default_rng(3)
    loud = rng.uniform(0.2, 3, 40)
    whole = [np.ones(10) for _ in loud]
    by_speech = [np.full(10, value) for value in loud]
    mixed = list(rng.permutation(np.concatenate(by_speech)).reshape(40, 10))

    def width(streamed: list[Array]) -> float:
        ratio = ratio_of_means(streamed, whole)
        return ratio.high - ratio.low

    assert width(by_speech) > 2 * width(mixed)


def test_the_same_renders_give_the_same_interval() -> None:
    rng = np.random.default_rng(2)
    whole, streamed = ([rng.uniform(0.1, 1, 4) for _ in range(9)] for _ in range(2))

    assert ratio_p95(streamed, whole) == ratio_p95(streamed, whole)


def test_without_seams_there_is_no_ratio() -> None:
    ratio = ratio_p95([np.zeros(0)], [np.zeros(0)])

    assert ratio.num_places == 0
    assert np.isnan(ratio.value)


def test_other_seams_than_those_of_the_whole_render_are_refused() -> None:
    with pytest.raises(ValueError, match="same seams"):
        ratio_p95([np.ones(3)], [np.ones(2)])
