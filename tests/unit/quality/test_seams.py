"""Jumps at the seams alone, every place of a blend apart."""

from __future__ import annotations

import numpy as np
import pytest

from bench.quality.seams import BEYOND, energy_jumps, places, spectral_jumps
from services.common.arrays import Array

FRAME = 256
RATE_HZ = 22050
SEAMS = [10, 20, 30]


def noise(seed: int = 0, frames: int = 40) -> Array:
    return (0.1 * np.random.default_rng(seed).standard_normal(frames * FRAME)).astype(np.float32)


def loudness(samples: Array, seams: list[int], blend: int = 0) -> Array:
    return energy_jumps(samples, places(seams, blend, 40), frame_samples=FRAME, rate_hz=RATE_HZ)


def test_a_step_in_loudness_at_a_seam_is_its_logarithm() -> None:
    samples = np.full(40 * FRAME, 0.1, np.float32)
    samples[20 * FRAME :] *= 2

    assert loudness(samples, SEAMS)[:, 0] == pytest.approx([0, np.log(2), 0], abs=1e-3)


def test_a_step_between_seams_does_not_count() -> None:
    samples = noise()
    louder = samples.copy()
    louder[15 * FRAME : 16 * FRAME] *= 5

    assert loudness(louder, SEAMS) == pytest.approx(loudness(samples, SEAMS), rel=1e-6)


def test_silence_against_silence_is_no_jump() -> None:
    samples = np.zeros(40 * FRAME, np.float32)
    samples[20 * FRAME :] = 1e-5

    assert loudness(samples, [20])[0, 0] < 1e-3


def test_a_seam_at_either_end_of_the_sound_is_measured_on_what_is_there() -> None:
    assert np.isfinite(loudness(noise(), [0, 39])).all()


def test_a_step_in_the_spectrum_is_its_mean_over_the_bins() -> None:
    mel = np.zeros((40, 4), np.float32)
    mel[20:, 0] = 2

    assert spectral_jumps(mel, places(SEAMS, 0, 40)).tolist() == [[0], [0.5], [0]]


def test_every_step_of_a_blend_is_a_place_of_its_own() -> None:
    assert places([10, 20], 2, 40).tolist() == [[10, 11, 12], [20, 21, 22]]
    assert places([], 2, 40).shape == (0, 3)


def test_places_behind_the_end_of_the_sound_are_unknown_in_both_measures() -> None:
    at = places([10, 39], 2, 40)

    assert at.tolist() == [[10, 11, 12], [39, BEYOND, BEYOND]]
    for jumps in (loudness(noise(), [10, 39], blend=2), spectral_jumps(noise().reshape(40, FRAME), at)):
        assert np.isnan(jumps).tolist() == [[False] * 3, [False, True, True]]


def test_a_linear_blend_shares_the_jump_among_its_steps() -> None:
    mel = np.repeat(np.clip(np.arange(40) - 19, 0, 5)[:, None] / 5, 4, axis=1)

    assert spectral_jumps(mel, places([20], 4, 40))[0] == pytest.approx([0.2] * 5)
