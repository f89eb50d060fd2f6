"""A stream that is resampled in pieces is the whole, resampled."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from services.frontend.audio.pcm import FULL_SCALE, Floats, to_samples
from services.frontend.audio.resampling import QUALITY, Resampler, position_at

RATES = [(22_050, 8_000), (22_050, 16_000), (22_050, 44_100), (22_050, 48_000), (24_000, 22_050), (24_000, 24_000)]


def speech(length: int) -> Floats:
    """Noise with everything in it, up to the highest frequency."""
    return (0.3 * np.random.default_rng(length).normal(size=length)).clip(-1, 1).astype(np.float32)


def streamed(samples: Floats, cuts: list[int], from_hz: int, to_hz: int) -> Floats:
    resampler = Resampler(from_hz, to_hz)
    parts = [resampler.push(part) for part in np.split(samples, sorted(cuts))]
    return np.concatenate([*parts, resampler.finish()])


@settings(max_examples=60, deadline=None)
@given(rates=st.sampled_from(RATES), length=st.integers(0, 6000), data=st.data())
def test_stream_is_the_whole_within_one_step(rates: tuple[int, int], length: int, data: st.DataObject) -> None:
    """Wherever it is cut; the difference is measured in steps of 16 bits, before rounding and after."""
    cuts = data.draw(st.lists(st.integers(0, length), max_size=20))
    whole = streamed(speech(length), [], *rates)
    pieces = streamed(speech(length), cuts, *rates)

    assert len(pieces) == len(whole) == position_at(length, *rates)
    assert np.abs(pieces - whole).max(initial=0) * FULL_SCALE <= 0.5
    assert np.abs(to_samples(pieces).astype(np.int32) - to_samples(whole)).max(initial=0) <= 1


@pytest.mark.parametrize("rates", [rates for rates in RATES if rates[0] != rates[1]])
def test_whole_is_what_the_library_makes_of_all_at_once(rates: tuple[int, int]) -> None:
    samples = speech(20_011)
    expected = soxr.resample(samples, *rates, quality=QUALITY)
    made = streamed(samples, [1, 882, 883, 15_000], *rates)

    assert abs(len(made) - len(expected)) <= 1
    size = min(len(made), len(expected))
    assert np.abs(made[:size] - expected[:size]).max() * FULL_SCALE <= 0.5


def test_tone_keeps_its_pitch_and_its_level() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)).astype(np.float32)
    made = streamed(tone, [], 22_050, 48_000)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)

    assert np.abs(made[2_000:-2_000] - expected[2_000:-2_000]).max() < 1e-3


def test_equal_rates_pass_through_at_once() -> None:
    resampler, samples = Resampler(22_050, 22_050), speech(100)

    np.testing.assert_array_equal(resampler.push(samples), samples)
    assert len(resampler.finish()) == 0


@pytest.mark.parametrize("rates", RATES)
def test_filter_holds_back_less_than_a_tenth_of_a_second(rates: tuple[int, int]) -> None:
    """What the first packet waits for at another rate, and what waits while the text pauses."""
    from_hz, to_hz = rates
    resampler, num_out, waiting_ms = Resampler(from_hz, to_hz), 0, 0.0
    for pushed in range(1, 301):
        num_out += len(resampler.push(speech(110)))
        waiting_ms = max(waiting_ms, 1000 * (pushed * 110 / from_hz - num_out / to_hz))

    assert waiting_ms < 100


@given(st.lists(st.integers(0, 10**9)), st.integers(1, 48_000), st.integers(8_000, 48_000))
def test_borders_stay_in_order_and_within_half_a_sample(indices: list[int], from_hz: int, to_hz: int) -> None:
    places = [position_at(index, from_hz, to_hz) for index in sorted(indices)]

    assert places == sorted(places)
    for index, place in zip(sorted(indices), places, strict=True):
        assert abs(place * from_hz - index * to_hz) * 2 <= from_hz
