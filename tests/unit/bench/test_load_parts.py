"""The pure parts of the load bench: arrivals, audibility, texts, settings, metrics."""

from __future__ import annotations

import itertools
import math
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from triptych import AsyncAudioStream, Audio, Model
from triptych.models import Parameter, Policy

from bench.load import scrape
from bench.load.arrivals import poisson
from bench.load.audible import audible_from
from bench.load.call import NO_AUDIO, listen
from bench.load.setting import Conditions, PolicyFacts, Setting, compared, conditions, facts_of
from bench.load.texts import passage

RATE_HZ = 22_050


def test_arrivals_follow_from_the_seed() -> None:
    assert poisson(2.0, 30, seed=3) == poisson(2.0, 30, seed=3)
    assert poisson(2.0, 30, seed=3) != poisson(2.0, 30, seed=4)


def test_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    times = poisson(5.0, 2000, seed=1)
    waits = np.diff([0.0, *times])
    assert len(times) / 2000 == pytest.approx(5.0, rel=0.05)
    assert waits.std() == pytest.approx(waits.mean(), rel=0.05)


@given(st.floats(0.01, 20), st.floats(0.1, 30), st.integers(0, 2**32))
def test_arrivals_are_in_order_within_the_time_and_never_none(rate: float, seconds: float, seed: int) -> None:
    times = poisson(rate, seconds, seed=seed)
    assert times
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < seconds


def test_speech_is_audible_from_its_first_loud_block() -> None:
    samples = np.zeros(RATE_HZ, np.float32)
    samples[RATE_HZ // 2 :] = 0.1
    assert audible_from(samples, RATE_HZ) == pytest.approx(0.5, abs=0.01)


def test_what_is_below_the_threshold_is_not_audible() -> None:
    """-40 dBFS is an RMS of 0.01."""
    assert audible_from(np.full(RATE_HZ, 0.0099, np.float32), RATE_HZ) is None
    assert audible_from(np.full(RATE_HZ, 0.0101, np.float32), RATE_HZ) == 0.0


def test_a_click_is_not_audible() -> None:
    """One sample does not lift the energy of its block."""
    samples = np.zeros(RATE_HZ, np.float32)
    samples[100] = 0.05
    assert audible_from(samples, RATE_HZ) is None


@given(st.integers(8, 3000))
def test_a_passage_has_whole_words_and_at_most_the_length(characters: int) -> None:
    text = passage(characters)
    assert characters - 14 <= len(text) <= characters
    assert text.endswith(".")
    assert not text.endswith((" .", ",.", ".."))


def test_without_a_comparison_there_is_one_setting() -> None:
    assert compared(Setting("latency", 4), "") == [Setting("latency", 4)]


def test_a_comparison_changes_one_thing() -> None:
    assert compared(Setting(steps=4), "policy=latency,balanced") == [Setting("latency", 4), Setting("balanced", 4)]
    assert compared(Setting("latency"), "steps=4,8") == [Setting("latency", 4), Setting("latency", 8)]
    assert compared(Setting(), "chunk_ms=0,40") == [Setting(chunk_ms=0), Setting(chunk_ms=40)]


@pytest.mark.parametrize("comparison", ["seed=1,2", "policy", "policy=a,", "policy=a,a", "steps=a,b"])
def test_a_wrong_comparison_is_refused(comparison: str) -> None:
    with pytest.raises(ValueError, match=r"compare|invalid literal"):
        compared(Setting(), comparison)


def test_conditions_say_what_the_server_says() -> None:
    facts = [PolicyFacts("balanced", 8, 1.5), PolicyFacts("latency", 4, 1.0)]
    names = ["balanced", "latency"]
    assert conditions(Setting(), names, facts) == Conditions("balanced", 8, 1.5)
    assert conditions(Setting("latency"), names, facts) == Conditions("latency", 4, 1.0)
    assert conditions(Setting("latency", 6), names, facts) == Conditions("latency", 6, 1.0)
    assert conditions(Setting(), names, []) == Conditions("balanced", None, None)


METRICS = """# HELP tts_lag_seconds Lag.
# TYPE tts_lag_seconds histogram
tts_lag_seconds_bucket{le="0.01"} 50.0
tts_lag_seconds_bucket{le="0.02"} 100.0
tts_lag_seconds_bucket{le="+Inf"} 100.0
tts_lag_seconds_count 100.0
tts_lag_seconds_sum 1.0
# HELP tts_peak_bytes Peak.
# TYPE tts_peak_bytes gauge
tts_peak_bytes 5e+06
"""


def test_metrics_are_read_by_name() -> None:
    assert scrape.value(METRICS, "tts_peak_bytes") == 5e6
    assert scrape.value(METRICS, "tts_other") is None
    assert scrape.buckets(METRICS, "tts_lag_seconds") == {0.01: 50.0, 0.02: 100.0, math.inf: 100.0}
    assert scrape.buckets(METRICS, "tts_other") == {}


def test_a_percentile_lies_inside_its_bucket() -> None:
    histogram = {0.01: 50.0, 0.02: 100.0, math.inf: 100.0}
    assert scrape.percentile(histogram, 50) == pytest.approx(0.01)
    assert scrape.percentile(histogram, 75) == pytest.approx(0.015)
    assert scrape.percentile(histogram, 100) == pytest.approx(0.02)


def test_a_percentile_above_the_last_bound_is_that_bound() -> None:
    assert scrape.percentile({0.01: 1.0, math.inf: 100.0}, 99) == 0.01


def test_nothing_observed_has_no_percentile() -> None:
    assert scrape.percentile({0.01: 0.0, math.inf: 0.0}, 99) is None
    assert scrape.percentile({}, 99) is None


def test_what_was_observed_before_does_not_count() -> None:
    before = {0.01: 5.0, math.inf: 9.0}
    assert scrape.between(before, {0.01: 6.0, math.inf: 20.0}) == {0.01: 1.0, math.inf: 11.0}
    assert scrape.between({}, {0.01: 6.0}) == {0.01: 6.0}


def model(policies: tuple[Policy, ...], parameters: tuple[Parameter, ...] = ()) -> Model:
    made = Model.__new__(Model)
    for name, value in {"policy_numbers": policies, "parameters": parameters}.items():
        object.__setattr__(made, name, value)
    return made


def policy(name: str, prompt_seconds: float, params: dict[str, float]) -> Policy:
    return Policy(name, False, 5, 20, 1.5, 100, 5, 25, prompt_seconds, 8, 24, 16, params)


def test_a_policy_without_steps_has_the_models() -> None:
    steps = Parameter("steps", 1, 100, 25, "", True, "config.params[steps]")
    policies = (policy("balanced", 0.8, {"steps": 4}), policy("whole", 15.0, {}))
    assert facts_of(model(policies, (steps,))) == [PolicyFacts("balanced", 4, 0.8), PolicyFacts("whole", 25, 15.0)]


def test_a_server_that_tells_no_numbers_leaves_them_open() -> None:
    assert facts_of(model(())) == []
    assert facts_of(model((policy("balanced", 0.8, {}),))) == [PolicyFacts("balanced", None, 0.8)]


class FakeStream:
    """Ends well with these pieces of sound."""

    def __init__(self, *audio: Audio) -> None:
        self._audio = iter(audio)

    async def __aenter__(self) -> FakeStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> Audio:
        try:
            return next(self._audio)
        except StopIteration:
            raise StopAsyncIteration from None


async def test_a_call_that_ends_well_without_a_sound_has_failed() -> None:
    call = await listen(cast("AsyncAudioStream", FakeStream()), 20, itertools.count().__next__, seed=7)
    assert (call.failure, call.seed) == (NO_AUDIO, 7)
